"""A fake model server that plays replies and faults. Knows no wire format: `ollama` and `bedrock` do."""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Self

from aiohttp import ClientConnectionResetError, web

from tests.world.fakes.reply import Body, Exchange, Failure, Reply, ToolCall


class FakeModel(ABC):
    """An HTTP server on a free port that plays `Reply` after `Reply` and remembers every `Exchange`.

    Which reply: what `plays` makes of the exchange, else the one set with `on` for a text in the newest
    question, else the next of `script`, else `default`.
    """

    content_type: str
    late_headers = False  # the headers of an answer leave with its first token, as Ollama's do

    def __init__(self, default: Reply | None = None, *, port: int = 0) -> None:
        self.default = default or Reply()
        self.script: deque[Reply] = deque()
        self.exchanges: list[Exchange] = []
        self.plays: Callable[[Exchange], Reply] | None = None
        self._by_text: dict[str, Reply] = {}
        self.drops_reused = False
        self._used: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        self._port = port
        self._runner: web.AppRunner | None = None
        self._slots: asyncio.Semaphore | None = None
        self._batch_seconds = 0.0

    # the wire

    @abstractmethod
    def routes(self) -> list[web.RouteDef]: ...

    @abstractmethod
    def asked(self, body: Body) -> str:
        """The newest text of the user in a request."""

    @abstractmethod
    def tool_answered(self, body: Body) -> bool:
        """Whether the newest message of a request is the result of a tool."""

    @abstractmethod
    def complaint(self, body: Body) -> str:
        """What the real server would refuse about this request; empty when it is all right."""

    @abstractmethod
    def refusal(self, failure: Failure) -> web.Response: ...

    @abstractmethod
    def opening(self) -> Iterator[bytes]: ...

    @abstractmethod
    def thought(self, text: str) -> bytes: ...

    @abstractmethod
    def token(self, text: str) -> bytes: ...

    @abstractmethod
    def tool_call(self, tool: ToolCall) -> Iterator[bytes]: ...

    @abstractmethod
    def closing(self, reply: Reply, used_tool: bool) -> Iterator[bytes]: ...

    @abstractmethod
    def malformed(self) -> bytes: ...

    @abstractmethod
    def failed(self, failure: Failure) -> bytes: ...

    # for tests

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def on(self, text: str, reply: Reply) -> Reply:
        """Answer questions that contain `text` with `reply`."""
        self._by_text[text] = reply
        return reply

    def one_at_a_time(self, *, batch_seconds: float = 0.0) -> None:
        """From now on there is one slot, and who finds it taken waits in silence, as with Ollama or llama.cpp
        on a small machine. Whose client leaves before the first token keeps it until its batch has been read.
        """
        self._slots, self._batch_seconds = asyncio.Semaphore(1), batch_seconds

    @property
    def open_streams(self) -> int:
        return sum(exchange.is_open for exchange in self.exchanges)

    @property
    def open_connections(self) -> int:
        server = self._runner.server if self._runner else None
        return len(server.connections) if server else 0

    def of(self, text: str) -> list[Exchange]:
        """The exchanges whose newest question contains `text`, oldest first."""
        return [exchange for exchange in self.exchanges if text in exchange.asked]

    def forget(self) -> None:
        """Back to the default reply, and nothing remembered but what is still open."""
        self.default = Reply()
        self.plays = None
        self.script.clear()
        self.drops_reused = False
        self._by_text.clear()
        self._slots = None
        self.exchanges = [exchange for exchange in self.exchanges if exchange.is_open]

    # life

    async def start(self) -> None:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # the play

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer one request for a reply."""
        body: Body = await request.json()
        exchange = Exchange(request.path, body, self.asked(body), request.headers)
        self.exchanges.append(exchange)
        if self._drops(request):
            exchange.left_at = time.monotonic()
            raise asyncio.CancelledError
        if complaint := self.complaint(body):
            exchange.finished_at = time.monotonic()
            return self.refusal(Failure(400, "ValidationException", complaint))
        reply = self._choose(exchange)
        try:
            async with self._slot(exchange):
                answer = await self._play(request, exchange, reply)
        except (asyncio.CancelledError, ClientConnectionResetError):
            exchange.left_at = time.monotonic()
            raise asyncio.CancelledError from None  # which aiohttp takes for what it is: the client has left
        exchange.finished_at = time.monotonic()
        return answer

    @contextlib.asynccontextmanager
    async def _slot(self, exchange: Exchange) -> AsyncIterator[None]:
        slots = self._slots
        if slots is None:
            yield
            return
        await slots.acquire()
        exchange.began_at = time.monotonic()
        try:
            yield
        except BaseException:
            reading = self._batch_seconds if exchange.tokens_sent == 0 else 0
            asyncio.get_running_loop().call_later(reading, slots.release)
            raise
        slots.release()

    def _drops(self, request: web.Request) -> bool:
        """Resets a connection that is used again, as one that has died unnoticed."""
        transport = request.transport
        if not (self.drops_reused and transport):
            return False
        if transport not in self._used:
            self._used.add(transport)
            return False
        transport.abort()
        return True

    def _choose(self, exchange: Exchange) -> Reply:
        if self.plays:
            return self.plays(exchange)
        for text, reply in self._by_text.items():
            if text in exchange.asked:
                return reply
        return self.script.popleft() if self.script else self.default

    async def _play(self, request: web.Request, exchange: Exchange, reply: Reply) -> web.StreamResponse:
        await asyncio.sleep(reply.headers_delay)
        if reply.refuse:
            return self._refused(reply.failure)
        answer = web.StreamResponse(headers={"Content-Type": self.content_type})
        if not self.late_headers:
            await answer.prepare(request)

        async def send(data: bytes) -> None:
            if not answer.prepared:
                await answer.prepare(request)
            for part in (data[: len(data) // 2], data[len(data) // 2 :]) if reply.torn else (data,):
                await answer.write(part)
                await asyncio.sleep(0)

        complete = await self._parts(exchange, reply, send, request)
        if complete:
            if not answer.prepared:
                await answer.prepare(request)
            await answer.write_eof()
        return answer

    def _refused(self, failure: Failure) -> web.Response:
        answer = self.refusal(failure)
        if failure.retry_after:
            answer.headers["Retry-After"] = failure.retry_after
        return answer

    async def _parts(
        self, exchange: Exchange, reply: Reply, send: Callable[[bytes], Awaitable[None]], request: web.Request
    ) -> bool:
        """Send everything up to the end or the fault; False when the connection has been reset."""
        await asyncio.sleep(reply.first_delay)
        if reply.raw is not None:
            for data in reply.raw:
                await send(data)
                await asyncio.sleep(reply.pace)
            return await self._go_wrong(reply, send, request)
        uses_tool = reply.tool is not None and not self.tool_answered(exchange.body)
        head = [*self.opening(), *(self.thought(text) for text in reply.thinking)]
        for part in head:
            await send(part)
        if uses_tool and reply.tool:
            for part in self.tool_call(reply.tool):
                await send(part)
        else:
            async for lump in self._tokens(exchange, reply):
                await send(lump)
            if reply.fault:
                return await self._go_wrong(reply, send, request)
        exchange.said_at = time.monotonic()
        for part in self.closing(reply, uses_tool):
            await send(part)
        return True

    async def _tokens(self, exchange: Exchange, reply: Reply) -> AsyncIterator[bytes]:
        pieces = reply.pieces[: reply.fault_after] if reply.fault else reply.pieces
        for first in range(0, len(pieces), reply.lump):
            lump = pieces[first : first + reply.lump]
            exchange.tokens_sent += len(lump)
            yield b"".join(self.token(text) for text in lump)
            await asyncio.sleep(reply.pace)

    async def _go_wrong(
        self, reply: Reply, send: Callable[[bytes], Awaitable[None]], request: web.Request
    ) -> bool:
        if reply.fault == "stall":
            await asyncio.Event().wait()
        elif reply.fault == "drop":
            if request.transport:
                request.transport.abort()
            return False
        elif reply.fault == "malformed":
            await send(self.malformed())
        elif reply.fault == "error":
            await send(self.failed(reply.failure))
        return True


def run(kind: type[FakeModel]) -> None:
    """Run a fake by itself until interrupted: `python -m tests.world.fakes.ollama --port 11434`."""
    parser = argparse.ArgumentParser(description=kind.__doc__)
    parser.add_argument("--port", type=int, default=0)
    for option in dataclasses.fields(Reply):
        if option.name in {"tokens", "pace", "headers_delay", "first_delay", "fault_after", "lump"}:
            value = int if option.name in {"tokens", "fault_after", "lump"} else float
            parser.add_argument(f"--{option.name.replace('_', '-')}", type=value, default=option.default)
    parser.add_argument("--fault", choices=["stall", "drop", "truncate", "malformed", "error"])
    options = vars(parser.parse_args())
    asyncio.run(
        _serve(kind(Reply(**{k: v for k, v in options.items() if k != "port"}), port=options["port"]))
    )


async def _serve(fake: FakeModel) -> None:
    async with fake:
        print(json.dumps({"url": fake.url}), flush=True)
        await asyncio.Event().wait()
