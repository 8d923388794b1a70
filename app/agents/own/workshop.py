"""The processes of tools, from the backend's side: the one that forks, and each that it makes.

Started when first needed, and anew when it dies. Knows no file and no tool.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Any

from loguru import logger

from app import envfile
from app.agents.own.frames import BadFrame, next_frame, packed
from app.agents.own.server import ASKED, NO_FILTER, TOLD
from app.settings import Settings

START_SECONDS = 60.0  # Strands takes seconds to load on a small machine
LEAVE_SECONDS = 2.0
MOST_HEARD = 4096  # bytes of what one process prints
PLACE = Path(__file__).parents[3]  # where `app` is
HANDED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONPATH")


class ProcessGone(Exception):
    """The process of a tool has ended before it answered, or none could be made: why, in one line."""


class Worker:
    """One process that runs a user's code. `number` is how the one that forks knows it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.heard = _Heard()
        self.gone = asyncio.Event()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, line: socket.socket, out: int) -> None:
        """`line`: our end of its line; `out`: where we hear what it prints."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=line)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: self.heard, os.fdopen(out, "rb"))

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Its answer. Raises `ProcessGone`."""
        assert self._writer  # noqa: S101  # it is open
        try:
            self._writer.write(packed(message))
            await self._writer.drain()
            return await next_frame(self._reader)
        except BadFrame:
            raise ProcessGone("it said what nobody can read") from None
        except (asyncio.IncompleteReadError, OSError):
            raise ProcessGone("its process ended") from None

    def hang_up(self) -> None:
        """Closes our end of its line."""
        if self._writer:
            self._writer.close()


class Workshop:
    """Makes processes; opened once per backend by `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: Process | None = None
        self._control: socket.socket | None = None
        self._opening = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None
        self._workers: dict[int, Worker] = {}
        self._count = 0

    async def __aenter__(self) -> "Workshop":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process and self._control:
            self._control.close()  # which ends it, and all that it has made
            self._control = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._process.wait()
            await self._over()

    @property
    def pid(self) -> int | None:
        """Of the process that forks, while there is one."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def worker(self) -> Worker:
        """A new process. Raises `ProcessGone`."""
        await self.open()
        assert self._control  # noqa: S101  # it is open
        self._count += 1
        ours, theirs = socket.socketpair()
        heard, said = os.pipe()
        worker = self._workers[self._count] = Worker(self._count)
        try:
            socket.send_fds(self._control, [ASKED.pack(b"S", worker.number)], [theirs.fileno(), said])
        except OSError:
            self._workers.pop(worker.number)
            ours.close()
            os.close(heard)
            raise ProcessGone("no process can be made now") from None
        finally:
            theirs.close()
            os.close(said)
        try:
            await worker.open(ours, heard)
        except BaseException:
            self.kill(worker)
            raise
        return worker

    def kill(self, worker: Worker) -> None:
        """Ends this process and all that it has started, now."""
        worker.hang_up()
        if worker.number in self._workers and self._control:
            with contextlib.suppress(OSError):
                self._control.send(ASKED.pack(b"K", worker.number))

    async def open(self) -> None:
        """Starts the process that forks, unless it runs. Raises `ProcessGone`."""
        async with self._opening:
            if self._listening and not self._listening.done():
                return
            await self._over()
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._launch()
            except TimeoutError:
                raise ProcessGone(f"it did not start in {START_SECONDS:.0f} s") from None

    async def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        network = "network" if self._settings.tools_network else "none"
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app.agents.own.server"),
                *(str(theirs.fileno()), network, str(self._settings.tool_memory_mb), os.getcwd()),
                env=self._environment(),
                cwd=PLACE,
                stdin=DEVNULL,
                stdout=DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.setblocking(False)
        self._control = ours
        ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen(ours, ready), name="tools")
        if not await ready:
            raise ProcessGone(await self._why())

    def _environment(self) -> dict[str, str]:
        """Nothing of ours: no keys, no Redis, no home with credentials in it. Nor can it look for them in
        the processes of its user.
        """
        ours = envfile.variables()
        kept = {name: ours[name] for name in (*HANDED, *self._settings.tool_variables) if name in ours}
        return {"HOME": tempfile.gettempdir(), "PYTHONDONTWRITEBYTECODE": "1", **kept}

    async def _listen(self, control: socket.socket, ready: asyncio.Future[bool]) -> None:
        """Until it has gone. A number and its end come in order, whole."""
        loop, data = asyncio.get_running_loop(), b""
        with contextlib.suppress(OSError):
            while part := await loop.sock_recv(control, 4096):
                data += part
                while len(data) >= TOLD.size:
                    what, number, value = TOLD.unpack(data[: TOLD.size])
                    self._told(what, number, value, ready)
                    data = data[TOLD.size :]
        if not ready.done():
            ready.set_result(False)
        for worker in self._workers.values():
            if worker.pid:
                _kill_group(worker.pid)
            worker.gone.set()
        self._workers.clear()

    def _told(self, what: bytes, number: int, value: int, ready: asyncio.Future[bool]) -> None:
        match what:
            case b"R" if not ready.done():
                ready.set_result(True)
                logger.info("pid=<{}> | the process for tools is ready", value)
                if not number:
                    logger.warning("tools may read the environment of this user's processes (no Landlock)")
            case b"P" if worker := self._workers.get(number):
                worker.pid = value
            case b"E" if worker := self._workers.pop(number, None):
                worker.gone.set()

    async def _why(self) -> str:
        code = await self._process.wait() if self._process else 0
        if code == NO_FILTER:
            return "tools cannot be kept from the network here (no seccomp): TOOLS_NETWORK=true allows it"
        return f"the process for tools ended by itself ({code})"

    async def _over(self) -> None:
        if self._control:
            self._control.close()
            self._control = None
        if self._process and self._process.returncode is None:
            _kill_group(self._process.pid)
            await self._process.wait()
        if self._listening:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            self._listening = None


class _Heard(asyncio.Protocol):
    """What a process prints: the end of it; the rest is forgotten."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.over = asyncio.Event()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.data = (self.data + data)[-MOST_HEARD:]

    def connection_lost(self, _: Exception | None) -> None:
        self.over.set()

    def stop_hearing(self) -> None:
        if self._transport:
            self._transport.close()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
