"""The stop line: a stop is recorded, the backend that holds the run ends it, and we tell what became of it.

A stop that nobody has taken after 1.5 s means that the backend is lost; then the run is settled on its
behalf.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal

from loguru import logger

from app.chat.endings import Endings
from app.chat.settle import Settler
from app.errors import RedisUnavailable
from app.store.keys import Chat
from app.store.leases import Leases
from app.store.records import Ending, LiveRun
from app.store.stops import Met, Stops

Result = Literal["stopping", "stopped", "already_finished", "owner_lost", "pending"]

TAKEN_SECONDS = 1.5
ENDED_SECONDS = 20.0  # a run that took its stop while Redis was in trouble


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of a stop. `stop_ms` is the time from our taking it to the end of the run."""

    result: Result
    run_id: str | None = None
    backend: str | None = None
    stop_ms: float | None = None


class Stopping:
    """Stops runs on any backend."""

    def __init__(
        self, stops: Stops, endings: Endings, settler: Settler, leases: Leases, backend: str
    ) -> None:
        self._stops = stops
        self._endings = endings
        self._settler = settler
        self._leases = leases
        self._backend = backend
        self._following: dict[str, asyncio.Task[Stopped]] = {}

    async def stop(self, chat: Chat, run_id: str | None, wait_ms: int = 0) -> Stopped:
        """Asks for the stop and waits so long for the end. Raises `RedisUnavailable`."""
        began = time.monotonic()
        met = await self._stops.request(chat, run_id)
        if not met.run:
            return _not_running(met)
        if not met.alive and self._leases.trusted():
            settled = await self._settler.settle(chat, met.run)
            return Stopped("owner_lost" if settled else "already_finished", met.run_id, met.run.backend)
        following = self._follow(chat, met.run, began)
        done, _ = await asyncio.wait({following}, timeout=wait_ms / 1000) if wait_ms else (set(), set())
        return following.result() if done else Stopped("stopping", met.run_id, met.run.backend)

    async def stop_and_wait(self, chat: Chat) -> Stopped:
        """Stops what runs and waits until it has ended, settled where its backend is lost."""
        return await self.stop(chat, None, wait_ms=5000)

    async def close(self) -> None:
        """Ends the tasks that follow stops."""
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self, chat: Chat, run: LiveRun, began: float) -> asyncio.Task[Stopped]:
        """One follower per run, however many ask."""
        if run.attempt not in self._following:
            task = asyncio.create_task(self._outcome(chat, run, began), name=f"stop {run.run_id}")
            task.add_done_callback(lambda _: self._following.pop(run.attempt, None))
            self._following[run.attempt] = task
        return self._following[run.attempt]

    async def _outcome(self, chat: Chat, run: LiveRun, began: float) -> Stopped:
        try:
            stopped = await self._ended_or_settled(chat, run, began)
            await self._stops.consume([(chat, run.run_id)])
        except RedisUnavailable as error:
            logger.warning(
                "run_id=<{}>, error=<{}> | cannot see whether it stopped", run.run_id, error.detail
            )
            return Stopped("stopping", run.run_id, run.backend)
        return stopped

    async def _ended_or_settled(self, chat: Chat, run: LiveRun, began: float) -> Stopped:
        ending = await self._endings.wait(chat, run, TAKEN_SECONDS)
        if ending is None and await self._stops.pending([chat]) == [run.run_id]:
            await self._settler.settle(chat, run)
        if ending is None:
            ending = await self._endings.wait(chat, run, ENDED_SECONDS)
        if ending is None:
            return Stopped("stopping", run.run_id, run.backend)
        if ending.outcome != "stopped":
            return Stopped(_by_itself(ending, run), run.run_id, run.backend)
        stop_ms = round((time.monotonic() - began) * 1000, 1)
        if ending.at_ms:
            await self._stops.note(self._noted(chat, run, stop_ms), ending.at_ms)
        return Stopped("stopped", run.run_id, run.backend, stop_ms)

    def _noted(self, chat: Chat, run: LiveRun, stop_ms: float) -> dict[str, Any]:
        ids = {"owner": chat.owner, "chat_id": chat.id, "run_id": run.run_id}
        return ids | {"backend": run.backend, "answered_by": self._backend, "stop_ms": stop_ms}


def _not_running(met: Met) -> Stopped:
    if met.what == "ended" and met.ending:
        return Stopped("already_finished", met.run_id, met.ending.backend)
    return Stopped("pending", met.run_id)


def _by_itself(ending: Ending, run: LiveRun) -> Result:
    return "already_finished" if ending.writer == run.process else "owner_lost"
