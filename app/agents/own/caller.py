"""Calls of the user's tools: each in a process of its own that is ended with the call, one kept ready
for each file.

Knows neither Strands nor which files there are.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from app.agents.own.specs import checked_specs
from app.agents.own.workshop import ProcessGone, Worker, Workshop
from app.settings import Settings

MOST_AT_ONCE = 8  # calls; the others wait, within their time
MOST_READY = 8  # processes that wait for a call
REST_SECONDS = 1.0  # for the end of a process that was told to
MOST_LINES = 20
MOST_CHARS = 300  # of a line


@dataclass(slots=True, eq=False)
class ToolFile:
    """One version of a file; a reply that began with it ends with it. `ready`: a process that has loaded
    it.
    """

    path: str
    source: str
    ready: Worker | None = None
    retired: bool = False
    specs: list[dict[str, Any]] = field(default_factory=list)


class Caller:
    """Opened once per backend."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.tool_timeout_seconds
        self._shop = Workshop(settings)
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._ready: set[ToolFile] = set()
        self._rests: set[asyncio.Task[None]] = set()
        self._closing = False
        self.works = True  # whether processes can be made

    async def __aenter__(self) -> "Caller":
        await self._shop.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        for file in list(self._ready):
            self.drop(file)
        for rest in self._rests:
            rest.cancel()
        await asyncio.gather(*self._rests, return_exceptions=True)
        await self._shop.__aexit__()

    async def open(self, patience: asyncio.Timeout, seconds: float) -> None:
        """Waits for the process that forks, however long it takes, then gives these seconds."""
        patience.reschedule(None)
        self.works = False
        await self._shop.open()
        self.works = True
        patience.reschedule(asyncio.get_running_loop().time() + seconds)

    async def describe(self, file: ToolFile) -> list[dict[str, Any]]:
        """The tools in it, as Strands describes them. Raises `ProcessGone`, `ValueError` with one line."""
        file.ready = await self._loaded(file)
        self._ready.add(file)
        return file.specs

    async def carry_out(self, file: ToolFile, tool: str, given: dict[str, Any]) -> tuple[bool, str]:
        """Whether it went well, and what the tool said. Raises `TimeoutError`, `ProcessGone`."""
        async with asyncio.timeout(self._seconds), self._slots:
            worker = await self._taken(file)
            try:
                told = await worker.ask({"tool": tool, "input": given})
                return told.get("well") is True, str(told.get("said", ""))
            finally:
                self._end(worker, file)

    def drop(self, file: ToolFile | None) -> None:
        """No process waits for this version any more."""
        if file:
            file.retired = True
            self._ready.discard(file)
            if file.ready:
                self._end(file.ready, file)
                file.ready = None

    async def _taken(self, file: ToolFile) -> Worker:
        worker, file.ready = file.ready, None
        self._ready.discard(file)
        if worker and not worker.gone.is_set():
            return worker
        return await self._loaded(file)

    async def _loaded(self, file: ToolFile) -> Worker:
        """A process that has loaded this file."""
        worker = await self._shop.worker()
        try:
            told = await worker.ask({"path": file.path, "source": file.source})
            if "mistake" in told:
                raise ValueError(str(told["mistake"]))
            file.specs = checked_specs(told.get("tools"))
        except BaseException:
            self._end(worker, file, again=False)
            raise
        return worker

    def _end(self, worker: Worker, file: ToolFile, again: bool = True) -> None:
        """Ends it at once; what is left is done later."""
        self._shop.kill(worker)
        if self._closing:
            worker.heard.stop_hearing()
            return
        rest = asyncio.create_task(self._rest(worker, file, again), name="tool rest")
        self._rests.add(rest)
        rest.add_done_callback(self._rests.discard)

    async def _rest(self, worker: Worker, file: ToolFile, again: bool) -> None:
        """Notes what the process has printed, and makes the next one."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REST_SECONDS):
                    await worker.gone.wait()
                    await worker.heard.over.wait()
        finally:
            worker.heard.stop_hearing()
        for line in _lines(worker.heard.data):
            logger.info("file=<{}> | a tool printed: {}", Path(file.path).name, line)
        if again and self._may_wait(file):
            with contextlib.suppress(ProcessGone, ValueError, TimeoutError):
                async with asyncio.timeout(self._seconds):
                    made = await self._loaded(file)
                self._let_wait(made, file)

    def _may_wait(self, file: ToolFile) -> bool:
        """Whether a process should be kept ready for this file."""
        return not (file.retired or file.ready or self._closing) and len(self._ready) < MOST_READY

    def _let_wait(self, worker: Worker, file: ToolFile) -> None:
        if self._may_wait(file):
            file.ready = worker
            self._ready.add(file)
        else:
            self._end(worker, file)


def _lines(data: bytes | bytearray) -> list[str]:
    """What was printed, as lines that cannot be taken for ours."""
    said = [line for line in data.decode(errors="replace").splitlines() if line.strip()]
    return ["".join(c if c.isprintable() else " " for c in line)[:MOST_CHARS] for line in said[-MOST_LINES:]]
