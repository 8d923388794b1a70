"""What every request passes before its route: request id, host name, origin, body, and the headers
of every answer.

Pure ASGI, so that streams pass untouched. API keys are a dependency of the routes, see `keys`.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from app.agents.sniff import MOST_TEXT
from app.api.arrival import Arrivals, Gone, Refused, is_file, most_at
from app.api.base import as_meant
from app.api.guesses import Guesses
from app.api.hosts import SAFE, Hosts, Origins, cannot_be_rebound, host_of
from app.api.problems import ELSEWHERE, PASSES_ON, openai_door, plain
from app.logs import request_id
from app.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LIVE = "/health/live"  # container health checks ask by address
FIGURES = "/metrics"  # so does Prometheus

_PASSES_ON = PASSES_ON.lower().encode()
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin")]
_PAGE_HEADERS = [
    (b"content-security-policy", PAGE_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
]
_OTHER_HEADERS = [(b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")]
_PRIVATE = (b"cache-control", b"no-store")
_EXPOSED = [
    "X-Run-Id", "X-Chat-Id", "X-Backend", "X-Request-ID", "X-Conversation-Id", "Retry-After", "Allow",
    "Content-Disposition",
]  # fmt: skip


class Door:
    """The outermost application: names the request, stamps the answer, and lets HEAD pass where GET does."""

    def __init__(self, app: App, settings: Settings, leaving: Callable[[], bool]) -> None:
        gate: Any = _Gate(app, settings)
        self._inner: Any = _Cors(gate, settings.origins) if settings.origins else gate
        self._backend = settings.backend_id.encode()
        self._base = settings.base_path
        self._leaving = leaving
        self._guesses = Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if _PASSES_ON in headers and self._leaving():
            while (await receive()).get("more_body"):  # else our hanging up could overtake the answer
                pass
            await ELSEWHERE(scope, receive, send)
            return
        asked = headers.get(b"x-request-id", b"")
        request_id.set(asked.decode() if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex)
        scope = as_meant(scope, self._base)
        openai_door.set(scope["path"].startswith("/v1/"))
        if scope["method"] == "HEAD":
            await self._inner({**scope, "method": "GET"}, receive, self._stamped(_headed(send), headers))
        else:
            await self._inner(scope, receive, self._stamped(send, headers))

    def _stamped(self, send: Send, asked: dict[bytes, bytes]) -> Send:
        own = [*_HEADERS, (b"x-request-id", request_id.get().encode()), (b"x-backend", self._backend)]

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                kind = headers.get(b"content-type", b"")
                more = [*own, *(_of_pages(headers) if b"html" in kind else _OTHER_HEADERS)]
                if b"json" in kind and b"cache-control" not in headers:
                    more.append(_PRIVATE)
                message["headers"] = [*message["headers"], *more]
                if message["status"] == 401 and b"authorization" in asked:
                    self._guesses.count()
            await send(message)

        return stamped


def _of_pages(told: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """What a page carries, but for what it says itself."""
    return [one for one in _PAGE_HEADERS if one[0] not in told]


def _headed(send: Send) -> Send:
    """The answer to a GET becomes one to a HEAD: it ends before its body; a stream sees its reader go."""
    answered = False

    async def headed(message: Message) -> None:
        nonlocal answered
        if answered:
            return
        await send(message)
        if message["type"] == "http.response.start":
            answered = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return headed


class _Cors(CORSMiddleware):
    """Every answer tells an origin that CORS_ORIGINS names, also a refusal."""

    def __init__(self, app: Any, origins: list[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
            allow_private_network=True,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        return answer if answer.status_code == 200 else plain(403)


class _Gate:
    """Refuses what is not meant for us, foreign pages and bodies that cannot be; hands on whole bodies."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._hosts = Hosts(settings.hosts, bool(settings.keys))
        self._origins = Origins(settings.origins)
        self._arrivals = Arrivals()
        self._file_bytes = max(MOST_TEXT, settings.file_max_kb * 1024)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            arrived = [await self._admit(scope, headers, receive)]
        except Refused as refused:
            answer = plain(refused.status, refused.detail)
            if refused.last:
                answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            return
        except Gone:
            return

        async def once() -> Message:
            if not arrived:
                return await receive()
            return {"type": "http.request", "body": arrived.pop(), "more_body": False}

        with self._arrivals.holding(scope["path"], len(arrived[0])):
            await self._app(scope, once, send)

    def _meant(self, path: str, host: bytes) -> bool:
        if path == LIVE or (path == FIGURES and cannot_be_rebound(host_of(host))):
            return True
        return self._hosts.answer_to(host)

    async def _admit(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The body of a request that may go on."""
        if not self._meant(scope["path"], headers.get(b"host", b"")):
            raise Refused(421)
        if self._origins.refuse(scope["method"], headers):
            raise Refused(403)
        if scope["method"] in SAFE:
            return b""
        path = scope["path"]
        most = most_at(path, self._file_bytes)
        return await self._arrivals.body(receive, headers, most, is_file=is_file(path))
