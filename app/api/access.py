"""What every request passes before its route: request id, host name, body size, and the headers of every
answer.

Pure ASGI, so that streams pass untouched. API keys are a dependency of the routes, see `keys`.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pydantic_core import from_json

from app.api.problems import plain
from app.logs import request_id
from app.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BODY = 256 * 1024
LIVE = "/health/live"  # container health checks ask by address
SAFE = ("GET", "HEAD", "OPTIONS")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin")]
_PAGE_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
]
_OTHER_HEADERS = [(b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")]


class Door:
    """The outermost application."""

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._hosts = set(settings.hosts)
        self._origins = set(settings.origins)
        self._backend = settings.backend_id.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"")
        request_id.set(asked.decode() if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex)
        answer = self._stamped(send)
        if self._hosts and _host(headers.get(b"host", b"")) not in self._hosts and scope["path"] != LIVE:
            await plain(421)(scope, receive, answer)
        elif scope["method"] not in SAFE and self._foreign(headers):
            await plain(403)(scope, receive, answer)
        elif _length(headers.get(b"content-length", b"0")) > MOST_BODY:
            await plain(413)(scope, receive, answer)
        else:
            await self._with_body(scope, receive, answer, headers.get(b"content-type", b""))

    def _foreign(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a browser says that a page of another site, not named in CORS_ORIGINS, sends this."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        return headers.get(b"sec-fetch-site") == b"cross-site" and origin not in self._origins

    async def _with_body(self, scope: Scope, receive: Receive, answer: Send, content_type: bytes) -> None:
        """Reads the body, which has a limit whether it says its length or not, before anybody works on it."""
        body, more = b"", scope["method"] not in SAFE
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_BODY:
                await plain(413)(scope, receive, answer)
                return
        if not _well_formed(body, content_type):
            await plain(422)(scope, receive, answer)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def once() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, once, answer)

    def _stamped(self, send: Send) -> Send:
        own = [*_HEADERS, (b"x-request-id", request_id.get().encode()), (b"x-backend", self._backend)]

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                page = any(name == b"content-type" and b"html" in value for name, value in message["headers"])
                message["headers"] = [*message["headers"], *own, *(_PAGE_HEADERS if page else _OTHER_HEADERS)]
            await send(message)

        return stamped


def _host(header: bytes) -> str:
    host = header.decode("latin-1").strip().lower()
    return host.rsplit(":", 1)[0] if re.search(r":\d*$", host) and not host.endswith("]") else host


def _well_formed(body: bytes, content_type: bytes) -> bool:
    """Whether a body that calls itself JSON is: Python's reader would also take NaN, UTF-16 and lone
    surrogates.
    """
    if not body or b"json" not in content_type:
        return True
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _length(header: bytes) -> int:
    return int(header) if header.isdigit() else 0
