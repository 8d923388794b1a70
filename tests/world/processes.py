"""Real programs under test: started on free ports, signalled and ended by their own pid, their output in
files.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """What a program needs to run at all; none of the settings of the person who runs the tests."""
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "PYTHONDONTWRITEBYTECODE",
    )
    return {name: os.environ[name] for name in kept if name in os.environ}


class Program:
    """One process. `log` collects standard output and error of all its lives."""

    def __init__(self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        self.log = log
        self.env = {**clean_environment(), "PYTHONPATH": str(ROOT), **(env or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def start(self) -> None:
        assert not self.running
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=self.log.parent,  # no .env of the person who runs the tests
                env=self.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def signal(self, number: Signals) -> None:
        """Send a signal; a process that has ended already is left alone."""
        with contextlib.suppress(ProcessLookupError):
            if self._process:
                self._process.send_signal(number)

    async def wait(self, within: float = 30) -> int:
        """The exit code, once it has ended by itself or by a signal."""
        assert self._process
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def end(self, number: Signals = SIGTERM, within: float = 10) -> None:
        """End it for certain: asked first, killed when it does not listen."""
        if not self.running:
            return
        self.signal(SIGCONT)
        self.signal(number)
        try:
            await self.wait(within)
        except TimeoutError:
            self.signal(SIGKILL)
            await self.wait()
