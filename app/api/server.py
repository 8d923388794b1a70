"""How a backend leaves: uvicorn with a way out on which nobody is lost. Knows no routes."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import uvicorn
from loguru import logger

if TYPE_CHECKING:
    from app.backend import Backend


class Server(uvicorn.Server):
    """Uvicorn with our own way out: the socket closes at once, running replies may end, then we
    leave with 0.

    Uvicorn cuts open streams without a terminal event, or never ends while one is open
    (https://www.uvicorn.org/settings/#timeouts), so the drain runs beside its shutdown.
    """

    def __init__(self, config: uvicorn.Config, backend: "Backend", grace: float) -> None:
        super().__init__(config)
        self._backend = backend
        self._grace = grace
        self._drain: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()
        self._taken_in: set[asyncio.Task[None]] = set()

    async def main_loop(self) -> None:
        """Until a signal comes. Uvicorn looks for one ten times a second, more than all else at rest; its
        tick keeps the time in the headers.
        """
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._leaving.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._leave, number)
        yield

    def _leave(self, number: int) -> None:
        """The first signal drains; the second one ends the running replies at once."""
        hurry, self.should_exit = self.should_exit, True
        self._leaving.set()
        logger.info("signal=<{}> | leaving", signal.Signals(number).name)
        if not self.started:
            return
        self._backend.turn_away()
        for server in self.servers:
            self._shut(server)
        if self._drain and hurry:
            self._drain.cancel()
        if self._drain is None or hurry:
            self._drain = asyncio.create_task(self._backend.drain(0 if hurry else self._grace))

    def _shut(self, server: asyncio.Server) -> None:
        """Listens no longer; who stands at the door is let in, as the kernel would hang up on them."""
        twins = [socket.fromfd(one.fileno(), one.family, one.type) for one in server.sockets]
        server.close()
        for twin in twins:
            for connection in _waiting(twin):
                task = asyncio.create_task(self._take_in(connection))
                self._taken_in.add(task)
                task.add_done_callback(self._taken_in.discard)

    async def _take_in(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.connect_accepted_socket(self._protocol, connection)
        protocol.shutdown()

    def _protocol(self) -> Any:
        state = self.lifespan.state
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn's own startup does
            config=self.config, server_state=self.server_state, app_state=state
        )


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """Who has connected and was not accepted yet; behind the last one the port refuses."""
    with listener:
        listener.setblocking(False)
        while True:
            try:
                yield listener.accept()[0]
            except OSError:  # nobody is left; or no descriptor is
                listener.shutdown(socket.SHUT_RD)
                return
