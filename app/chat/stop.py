"""The stop line: a stop is recorded, the backend that holds the run ends it, and we tell what
became of it.

A stop that nobody has taken after 1.5 s means that the backend is lost; then the run is settled on
its behalf.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from loguru import logger

from app.chat.awaited import Awaited
from app.chat.settle import Settler
from app.chat.tasks import Tasks
from app.clock import ENDED_SECONDS, HELD_UP_SECONDS, TAKEN_SECONDS
from app.errors import Overloaded, RedisUnavailable
from app.runs.metrics import Metrics
from app.store.keys import Chat
from app.store.records import GONE, LiveRun, RunRecord
from app.store.stops import Met
from app.store.store import Store
from app.store.waiting import Waiting

Result = Literal["stopping", "stopped", "already_finished", "owner_lost", "pending"]

MOST_ASKED = 2000  # ids of bulk requests at the same time
AT_ONCE = 50  # of them in one part: what is asked of other chats goes on in between


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of a stop. `stop_ms` is the time from its being recorded to the end of the run;
    `unsent`: the messages that waited and are handed back.
    """

    result: Result
    run_id: str | None = None
    backend: str | None = None
    stop_ms: float | None = None
    unsent: list[Waiting] = field(default_factory=list)


class Stopping:
    """Stops runs on any backend."""

    def __init__(self, store: Store, settler: Settler, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._stops = store.stops
        self._awaited = Awaited(store)
        self._settler = settler
        self._asked = 0
        self._following: dict[str, asyncio.Task[Stopped]] = {}
        self._later = Tasks()

    async def stop(
        self, chat: Chat, run_id: str | None, wait_ms: int = 0, seen: int | None = None
    ) -> Stopped:
        """Asks for the stop and waits so long for the end; what is kept ends with event `seen`.

        Raises `RedisUnavailable`.
        """
        began = time.monotonic()
        met = await self._stops.request(chat, run_id, seen)
        carried = await self._carry_out(chat, met, began)
        if isinstance(carried, asyncio.Task) and wait_ms:
            await asyncio.wait({carried}, timeout=wait_ms / 1000)
        stopped = _told(carried, met)
        self._metrics.count_stops([stopped.result])
        return stopped

    async def stop_all(self, chats: Sequence[Chat], wait_ms: int = 0) -> list[Stopped | RedisUnavailable]:
        """The same for many, in two round trips for each part; what one chat meets harms no other."""
        began = time.monotonic()
        mets = await self._request_parts(chats)
        carried = [
            met if isinstance(met, RedisUnavailable) else await self._carry_out(chat, met, began)
            for chat, met in zip(chats, mets, strict=True)
        ]
        waiting = {one for one in carried if isinstance(one, asyncio.Task)}
        if waiting and wait_ms:
            await asyncio.wait(waiting, timeout=wait_ms / 1000)
        results = [
            met if isinstance(met, RedisUnavailable) else _told(one, met)  # type: ignore[arg-type]  # else it is met
            for one, met in zip(carried, mets, strict=True)
        ]
        self._metrics.count_stops(one.result for one in results if isinstance(one, Stopped))
        return results

    async def _request_parts(self, chats: Sequence[Chat]) -> list[Met | RedisUnavailable]:
        mets: list[Met | RedisUnavailable] = []
        try:
            while len(mets) < len(chats):
                mets += await self._stops.request_all(chats[len(mets) : len(mets) + AT_ONCE])
        except RedisUnavailable as error:
            if not mets:
                raise
            mets += [error] * (len(chats) - len(mets))
        return mets

    async def _carry_out(self, chat: Chat, met: Met, began: float) -> "Stopped | asyncio.Task[Stopped]":
        """What became of the stop where that is known at once, else the task that will know."""
        if met.done and met.record and met.run_id:
            return await self._finished(chat, met.run_id, met.record, began)
        if not met.run:
            return _not_running(met)
        if not met.alive and self._store.leases.trusted():
            settled = await self._settler.settle(chat, met.run)
            return Stopped("owner_lost" if settled else "already_finished", met.run_id, met.run.backend)
        return self._follow(chat, met.run, began)

    @contextlib.contextmanager
    def gate(self, ids: int) -> Iterator[None]:
        """Counts what is asked by its ids: a request of a thousand is a thousand. Raises `Overloaded`."""
        if self._asked and self._asked + ids > MOST_ASKED:
            raise Overloaded("Too many stops are asked for at once. Try again in a few seconds.")
        self._asked += ids
        try:
            yield
        finally:
            self._asked -= ids

    async def stop_and_wait(self, chat: Chat, run_id: str | None = None) -> Stopped:
        """Stops what runs, or this run, and waits until it has ended, settled where its backend is lost."""
        return await self.stop(chat, run_id, wait_ms=5000)

    def stop_later(self, chat: Chat, run_id: str) -> None:
        """Stops this run, on whichever backend it is made, without anybody who waits for it."""
        self._later.keep(self._stop_quietly(chat, run_id), name=f"stop {run_id}")

    async def _stop_quietly(self, chat: Chat, run_id: str) -> None:
        with contextlib.suppress(RedisUnavailable):
            await self.stop(chat, run_id)

    async def close(self) -> None:
        """Ends the tasks that follow stops."""
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._later.close()

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
        asked = time.monotonic()
        ending = await self._awaited.wait(chat, run, TAKEN_SECONDS)
        if ending is None and (
            time.monotonic() - asked > TAKEN_SECONDS + HELD_UP_SECONDS  # what held us up may have held it up
            or await self._awaited.is_making(chat, run)
        ):
            ending = await self._awaited.wait(chat, run, TAKEN_SECONDS)
        if ending is None and await self._awaited.is_taken_back(chat, run):
            ending = await self._store.memory.record(chat, run.run_id) or GONE
        if ending is None and await self._stops.pending([chat]) == [run.run_id]:
            await self._settler.settle(chat, run)
        if ending is None:
            ending = await self._awaited.wait(chat, run, ENDED_SECONDS)
        if ending is None:
            return Stopped("stopping", run.run_id, run.backend)
        if ending.outcome != "stopped":
            return Stopped(_by_itself(ending, run), run.run_id, run.backend)
        return await self._finished(chat, run.run_id, replace(ending, backend=run.backend), began)

    async def _finished(self, chat: Chat, run_id: str, ending: RunRecord, began: float) -> Stopped:
        """Counts and notes a stop that has ended its run."""
        stop_ms = ending.stop_ms
        if stop_ms is None:
            stop_ms = round((time.monotonic() - began) * 1000, 1)
        self._metrics.stop.observe(stop_ms / 1000)
        if ending.ended_ms:
            about: dict[str, Any] = {"chat_id": chat.id, "run_id": run_id, "backend": ending.backend}
            about |= {"answered_by": self._store.backend_id, "stop_ms": stop_ms}
            await self._stops.note(chat.owner, about, ending.ended_ms)
        return Stopped("stopped", run_id, ending.backend, stop_ms)


def _told(carried: "Stopped | asyncio.Task[Stopped]", met: Met) -> Stopped:
    """What became of it by now, and what waited in the chat."""
    if isinstance(carried, asyncio.Task):
        carried = carried.result() if carried.done() else _on_its_way(met)
    return replace(carried, unsent=met.unsent)


def _on_its_way(met: Met | RedisUnavailable) -> Stopped:
    assert isinstance(met, Met) and met.run  # noqa: S101, PT018  # only a live run is followed
    return Stopped("stopping", met.run_id, met.run.backend)


def _not_running(met: Met) -> Stopped:
    if met.what == "ended" and met.record:
        return Stopped("already_finished", met.run_id, met.record.backend)
    return Stopped("pending", met.run_id)


def _by_itself(ending: RunRecord, run: LiveRun) -> Result:
    return "already_finished" if ending.writer == run.process else "owner_lost"
