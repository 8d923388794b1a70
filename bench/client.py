"""The reader's side: one SSE reply as a raw protocol, cheap enough to read for hundreds, and small JSON
requests.

Owns what is counted at the client: first token, gaps, tokens, the terminal frame. Knows no system under test
beyond the path of its chat. Tokens are counted by their mark, so a frame may carry any number of them.
"""

import asyncio
import json
import random
import time
from array import array
from typing import Any, cast

from bench.wire import MARK

ENDINGS = (b"data: [DONE]", b"data: [STOPPED]", b"data: [ERROR]")
_LONGEST = max(map(len, ENDINGS))


def request(method: str, path: str, body: object = None) -> bytes:
    """One request whose connection closes after the answer, each as from another client: Nginx limits each of
    them.
    """
    sent = b"" if body is None else json.dumps(body).encode()
    client = ".".join(str(random.randrange(256)) for _ in range(3))
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nX-Forwarded-For: 10.{client}\r\nConnection: close\r\n"
        "Content-Type: application/json\r\n"
    )
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(sent) + sent


class Reply(asyncio.Protocol):
    """One chat as its reader sees it; times are monotonic seconds, `gaps` seconds between tokens."""

    def __init__(self, chat_id: str, asked: str) -> None:
        self.chat_id = chat_id
        self._request = request("POST", f"/api/v1/chat/{chat_id}", {"message": f"Go on [stub {asked}]"})
        self._tail = b""
        self.status = 0
        self.sent_at = self.first_at = self.last_at = self.ended_at = 0.0
        self.tokens = self.marked = 0
        self.gaps = array("d")
        self.ending = b""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited: list[tuple[int, asyncio.Future[None]]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by name

    def send(self) -> None:
        """Sends the request; the clock of the first token starts here."""
        self.sent_at = time.monotonic()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self.status:
            self.status = int(data[9:12])
        if count := data.count(MARK):
            self._count(count, now)
        seen = self._tail + data
        if not self.ending and b"data: [" in seen:
            self.ending = next((ending for ending in ENDINGS if ending in seen), b"")
            self.ended_at = now if self.ending else 0.0
        self._tail = data[-_LONGEST:]

    def _count(self, count: int, now: float) -> None:
        if self.tokens:
            self.gaps.append(now - self.last_at)
        else:
            self.first_at = now
        self.gaps.extend(_ZEROS[: count - 1] if count <= len(_ZEROS) else array("d", bytes(8 * (count - 1))))
        self.last_at = now
        self.tokens += count
        while self._awaited and self._awaited[0][0] <= self.tokens:
            _settle(self._awaited.pop(0)[1])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        for _, waiting in self._awaited:
            _settle(waiting)
        _settle(self.closed)

    def leave(self) -> None:
        """Hangs up."""
        self._transport.abort()

    async def reached(self, tokens: int) -> None:
        """Returns when that many tokens have come, or the reply has ended."""
        if self.tokens < tokens and not self.closed.done():
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaited.append((tokens, waiting))
            await waiting


_ZEROS = array("d", bytes(8 * 4096))


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def open_reply(port: int, chat_id: str, asked: str) -> Reply:
    """A connected reader that has not asked yet."""
    loop = asyncio.get_running_loop()
    _, reply = await loop.create_connection(lambda: Reply(chat_id, asked), "127.0.0.1", port)
    return reply


async def chat(port: int, chat_id: str, asked: str) -> Reply:
    """One chat to its end; raises when it does not end well."""
    reply = await open_reply(port, chat_id, asked)
    reply.send()
    async with asyncio.timeout(120):
        await reply.closed
    if reply.ending != ENDINGS[0]:
        raise RuntimeError(
            f"{chat_id}: status {reply.status}, {reply.tokens} tokens, ending {reply.ending!r}"
        )
    return reply


class Ask:
    """One small JSON request on a connection opened beforehand, so that its sending can be timed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Ask":
        """Connects."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Sends, and returns status and decoded answer (None when it is not JSON)."""
        self._writer.write(request(method, path, body))
        async with asyncio.timeout(15):
            answer = await self._reader.read(-1)
        self._writer.close()
        head, _, shown = answer.partition(b"\r\n\r\n")
        if b"\r\ntransfer-encoding: chunked" in head.lower():
            shown = unchunked(shown)
        return int(head[9:12]), json.loads(shown) if b"application/" in head.lower() and shown else None


def unchunked(data: bytes) -> bytes:
    """The body that chunked encoding carries."""
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        whole, data = whole + data[:length], data[length + 2 :]
    return whole


async def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """One small JSON request."""
    return await (await Ask.open(port)).send(method, path, body)
