"""`python -m app` serves one backend; `… doctor` checks the installation, `… check` if it can start."""

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

import uvicorn
from loguru import logger

from app import logs
from app.clock import EXIT_SECONDS
from app.settings import Settings, load

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
        for server in self.servers:
            server.close()
        if self._drain and hurry:
            self._drain.cancel()
        if self._drain is None or hurry:
            self._drain = asyncio.create_task(self._backend.drain(0 if hurry else self._grace))


def main() -> None:
    if sys.argv[1:2] == ["doctor"]:
        from app.doctor.checks import main as doctor

        sys.exit(doctor(running=sys.argv[2:] == ["running"]))
    settings = load()
    if sys.argv[1:] == ["check"]:
        _build(settings)
        return
    logs.set_up(settings.log_level, settings.log_format, settings.backend_id)
    serve(settings)


def serve(settings: Settings) -> None:
    """Serves until a signal comes; exit code 2 with one line when a setting cannot be used."""
    backend, door = _build(settings)
    config = uvicorn.Config(
        door,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds + EXIT_SECONDS),
        http=_protocol(),
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
        lifespan="on",
    )
    Server(config, backend, settings.shutdown_grace_seconds).run()


def _protocol() -> Any:
    """Ours needs httptools, which not every machine has; h11 limits headers by itself, but waits for them."""
    try:
        from app.api.protocol import Limited
    except ImportError:
        return "h11"
    return Limited


def _build(settings: Settings) -> "tuple[Backend, Any]":
    from app.main import build

    try:
        return build(settings)
    except ValueError as error:
        sys.stderr.write(f"Wrong setting: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
