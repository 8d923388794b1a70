"""A strict consumer of the HTTP API. Knows the contract, not the code behind it."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from tests.world.sse import Frame, SseParser

Format = Literal["text", "json"]
READ_SECONDS = 40  # longer than any silence the contract allows

_addresses = itertools.count(1)


def own_address() -> str:
    """A loopback address no other client here has: limits per client address see different people."""
    n = next(_addresses)
    return f"127.{10 + os.getpid() % 200}.{n // 250 % 250}.{1 + n % 250}"


class Stream:
    """One reader of one run, in either format."""

    def __init__(self, response: httpx.Response, kind: Format) -> None:
        self.response = response
        self.kind = kind
        self.frames: list[Frame] = []
        self.raw = b""
        self.ended = False
        self._parser = SseParser()
        self._ready: list[Frame] = []
        self._chunks = response.aiter_raw()

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def run_id(self) -> str:
        return self.response.headers["X-Run-Id"]

    @property
    def backend(self) -> str:
        return self.response.headers["X-Backend"]

    @property
    def comments(self) -> list[str]:
        return self._parser.comments

    async def next(self, within: float = READ_SECONDS) -> Frame | None:
        """The next frame; None when the server has closed the stream."""
        async with asyncio.timeout(within):
            while not self._ready and not self.ended:
                await self.more()
        if not self._ready:
            return None
        self.frames.append(self._ready.pop(0))
        return self.frames[-1]

    async def more(self) -> None:
        """Take what the network brings next: frames, parts of one, comments, or the end."""
        assert self.status in {200, 204}, f"{self.status} {self.response.text}"
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self.ended = True
            assert self._parser.is_between_frames, f"the stream ended inside a frame: {self.raw[-200:]!r}"
            return
        self.raw += chunk
        self._ready += self._parser.feed(chunk)

    async def until(self, holds: Callable[[Self], bool], within: float = READ_SECONDS) -> Self:
        """Read on until `holds(self)`; the stream must not end before."""
        async with asyncio.timeout(within):
            while not holds(self):
                assert await self.next(), f"the stream ended first: {self.frames[-5:]}"
        return self

    async def until_text(self, part: str, within: float = READ_SECONDS) -> Self:
        return await self.until(lambda stream: part in stream.text, within)

    async def rest(self, within: float = READ_SECONDS) -> Self:
        """Read to the end of the stream."""
        async with asyncio.timeout(within):
            while await self.next(within):
                pass
        return self

    # what was seen

    @property
    def text(self) -> str:
        return "".join(text_of(frame, self.kind) for frame in self.frames)

    @property
    def terminals(self) -> list[Frame]:
        return [frame for frame in self.frames if outcome_of(frame, self.kind)]

    @property
    def outcome(self) -> str | None:
        """`done`, `stopped`, `failed`, or None when no terminal frame has been seen."""
        return outcome_of(self.terminals[-1], self.kind) if self.terminals else None

    @property
    def end(self) -> dict[str, Any]:
        """The data of the terminal event (format `json`)."""
        assert self.kind == "json"
        return dict(self.terminals[-1].json)

    @property
    def backend_lost(self) -> bool:
        """Whether the run was settled on behalf of a backend that died (in format `text` as far as one can
        tell).
        """
        return bool(
            self.outcome == "failed" and (self.kind == "text" or self.end["error"]["code"] == "backend_lost")
        )

    @property
    def last_id(self) -> str:
        return self.frames[-1].id

    def of(self, event: str) -> list[dict[str, Any]]:
        """The data of all events of one name (format `json`)."""
        return [frame.json for frame in self.frames if frame.event == event]


def text_of(frame: Frame, kind: Format) -> str:
    if kind == "json":
        return str(frame.json["text"]) if frame.event == "text" else ""
    return "" if outcome_of(frame, kind) else frame.data


def outcome_of(frame: Frame, kind: Format) -> str | None:
    if kind == "json":
        return str(frame.json["outcome"]) if frame.event == "end" else None
    if frame.data.startswith("[ERROR] "):
        return "failed"
    return {"[DONE]": "done", "[STOPPED]": "stopped"}.get(frame.data)


class Client:
    """One person at one address, talking through `url` (Nginx, or one backend)."""

    def __init__(self, url: str, *, key: str | None = None, address: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        transport = httpx.AsyncHTTPTransport(local_address=address or own_address(), limits=limits)
        self.http = httpx.AsyncClient(
            base_url=url, headers=headers, transport=transport, timeout=READ_SECONDS
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    @contextlib.asynccontextmanager
    async def _stream(self, request: httpx.Request, kind: Format) -> AsyncIterator[Stream]:
        response = await self.http.send(request, stream=True)
        try:
            if response.status_code >= 400:
                await response.aread()
            yield Stream(response, kind)
        finally:
            await response.aclose()

    def chat(
        self, chat_id: str, message: str, *, kind: Format = "json", **more: Any
    ) -> contextlib.AbstractAsyncContextManager[Stream]:
        """Start a run and read it; `more` goes into the body."""
        url = f"/api/v1/chat/{chat_id}"
        request = self.http.build_request(
            "POST", url, params={"format": kind}, json={"message": message, **more}
        )
        return self._stream(request, kind)

    def attach(
        self, chat_id: str, *, kind: Format = "json", last_id: str | None = None, after: str | None = None
    ) -> contextlib.AbstractAsyncContextManager[Stream]:
        """Read the running or last run of a chat, after the event named by header or parameter."""
        params = {"format": kind, **({"after": after} if after else {})}
        headers = {"Last-Event-ID": last_id} if last_id else {}
        url = f"/api/v1/chat/{chat_id}/events"
        return self._stream(self.http.build_request("GET", url, params=params, headers=headers), kind)

    async def ask(self, chat_id: str, message: str, *, kind: Format = "json", **more: Any) -> Stream:
        """Start a run and read it to its end."""
        async with self.chat(chat_id, message, kind=kind, **more) as stream:
            assert stream.status == 200, stream.response.text
            return await stream.rest()

    async def replay(self, chat_id: str, *, kind: Format = "json", last_id: str | None = None) -> Stream:
        async with self.attach(chat_id, kind=kind, last_id=last_id) as stream:
            return await stream.rest()

    async def stop(
        self, chat_id: str, *, wait: int | None = None, run_id: str | None = None, seen: int | None = None
    ) -> dict[str, Any]:
        """Ask for the stop; the answer of the service."""
        body = {"run_id": run_id, "seen": seen}
        answer = await self.http.post(
            f"/api/v1/stop/{chat_id}",
            params={} if wait is None else {"wait": wait},
            json={name: value for name, value in body.items() if value is not None} or None,
        )
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def chat_info(self, chat_id: str) -> dict[str, Any]:
        return dict(await self.get(f"/api/v1/chat/{chat_id}"))

    async def messages(self, chat_id: str) -> list[dict[str, Any]]:
        return list((await self.chat_info(chat_id))["messages"])

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()
