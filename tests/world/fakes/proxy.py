"""A TCP proxy that goes wrong on demand, to put before Redis or a model.

Knows nothing of what flows through it.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

CHUNK = 65536


class FaultProxy:
    """Forwards a free local port to `host:port`; every fault can be switched while connections are open.

    `delay` seconds are added to each piece of a reply, `bytes_per_second` throttles replies, `refuse` closes
    new connections at once, `freeze()` keeps connections but moves nothing. A reply is dropped (its request
    has been forwarded, the connection is then closed) for every `drop_every`-th piece, or by chance with
    `drop_fraction`. `meets` is asked of every piece of a request: `lose` drops its reply, a number holds it
    back for so many seconds, on its own connection alone; it arrives then, whoever has gone meanwhile.
    """

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self.delay = 0.0
        self.bytes_per_second = 0
        self.refuse = False
        self.drop_every = 0
        self.drop_fraction = 0.0
        self.meets: Callable[[bytes], Literal["lose"] | float] = lambda _: 0.0
        self.replies = 0
        self.dropped = 0
        self._target = (host, port)
        self._random = random.Random(seed)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def open_links(self) -> int:
        return len(self._links)

    def heal(self) -> None:
        """Pass everything again. Connections that were cut stay cut."""
        self.delay, self.bytes_per_second, self.drop_every, self.drop_fraction = 0.0, 0, 0, 0.0
        self.refuse = False
        self.meets = lambda _: 0.0
        self._flowing.set()

    def freeze(self) -> None:
        self._flowing.clear()

    def cut(self) -> int:
        """Close all connections that are open now; how many."""
        links = list(self._links)
        for link in links:
            link.cancel()
        return len(links)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        links = list(self._links)
        self.cut()
        await asyncio.gather(*links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link
        self._links.add(link)
        with contextlib.suppress(asyncio.CancelledError):
            await self._link(reader, writer)
        self._links.discard(link)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            if self.refuse:
                return
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            ends.append(server_writer)
            lost = asyncio.Event()
            ways = {
                asyncio.ensure_future(self._requests(reader, server_writer, lost)),
                asyncio.ensure_future(self._replies(server_reader, writer, lost)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            return
        finally:
            for end in ends:
                end.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while data := await reader.read(CHUNK):
            await self._flowing.wait()
            met = self.meets(data)
            if met == "lose":
                lost.set()
            else:
                await asyncio.sleep(met)
            writer.write(data)
            await writer.drain()

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while data := await reader.read(CHUNK):
            await self._flowing.wait()
            self.replies += 1
            if lost.is_set() or self._drops():
                self.dropped += 1
                return
            await asyncio.sleep(
                self.delay + (len(data) / self.bytes_per_second if self.bytes_per_second else 0)
            )
            writer.write(data)
            await writer.drain()

    def _drops(self) -> bool:
        if self.drop_every and self.replies % self.drop_every == 0:
            return True
        return self.drop_fraction > 0 and self._random.random() < self.drop_fraction
