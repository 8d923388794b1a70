"""Sends to a chat and deletes it.

How a run lives once it has begun is in `turn`, who reads it in `readers`.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, Literal

from loguru import logger

from app.chat.settle import Settler
from app.chat.stop import Stopping
from app.chat.turn import Turns
from app.errors import ChatBusy, NotFound, RedisUnavailable, RunIdUsed
from app.events import Failure
from app.runs.held import Runs
from app.runs.logwriter import LogWriter
from app.runs.readers import Readers, Reading
from app.runs.run import Run
from app.runs.watcher import Watcher
from app.settings import Settings
from app.store.eventlog import EventLog
from app.store.keys import Chat
from app.store.leases import Leases
from app.store.memory import Memory
from app.store.records import Asked, Known, LiveRun, Started
from app.store.stops import Stops
from app.store.wire.connection import Connection

TRIES = 5
UNDO_SECONDS = 1.0
UNCLEAR_TRIES, UNCLEAR_SECONDS = 25, 0.1


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody sends.

    `replaces` names the run whose question, and all behind it, this one takes the place of.
    """

    text: str
    agent: str
    run_id: str
    on_busy: Literal["reject", "replace"] = "reject"
    replaces: str | None = None

    @property
    def digest(self) -> str:
        """Tells this text from others, without keeping it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a turn works with; `main` builds them."""

    settings: Settings
    redis: Connection
    memory: Memory
    log: EventLog
    stops: Stops
    leases: Leases
    runs: Runs
    writer: LogWriter
    watcher: Watcher
    readers: Readers
    settler: Settler
    stopping: Stopping
    turns: Turns


class Chats:
    """Sends and deletes; holds the tasks of the runs."""

    def __init__(self, parts: Parts) -> None:
        self._with = parts
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, chat: Chat, question: Question, *, leaving_ends: bool = False) -> Reading:
        """Starts a run, or joins the one with this id, and returns a reader of it from its first event.

        With `leaving_ends` the run ends when that reader leaves. Raises `UnknownAgent`, `ChatBusy`,
        `RunIdUsed`, `NotFound`, `Overloaded`, `Draining`, `RedisUnavailable`.
        """
        live = self._described(question)
        busy = ChatBusy("A reply is being made in this chat. Stop it first, or send with on_busy=replace.")
        with self._with.runs.place():
            for _ in range(TRIES):
                met = await self._start_clearly(chat, question, live)
                if isinstance(met, Run):
                    return Reading(met.feed, 0, met.cut) if leaving_ends else self._with.readers.of(met)
                if isinstance(met, Known):
                    return await self._join(chat, question, met)
                busy.extra = {"run_id": met.run_id, "backend": met.backend}
                if not await self._made_way(chat, met, question.on_busy):
                    break
        raise busy

    async def delete(self, chat: Chat) -> None:
        """Stops what runs and forgets the chat. Raises `NotFound`, `RedisUnavailable`."""
        for _ in range(TRIES):
            answer = await self._with.memory.delete(chat)
            if answer == "unknown":
                raise NotFound("There is no such chat.")
            if answer == "deleted":
                return
            await self._with.stopping.stop_and_wait(chat)
        raise RedisUnavailable("The reply in this chat could not be stopped. Try again in a few seconds.")

    async def drain(self, grace: float) -> None:
        """Lets runs end for so many seconds, then cuts the rest; sends readers of runs elsewhere away."""
        self._with.runs.draining = True
        try:
            async with asyncio.timeout(grace):
                await self._with.runs.empty.wait()
        except TimeoutError:
            for run in self._with.runs:
                run.cut(
                    Failure(
                        "draining", "The server is restarting. What was written is kept; ask again to go on."
                    )
                )
        self._with.readers.send_away()

    async def close(self, seconds: float) -> None:
        """Waits so long for the endings, then gives up on them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start_clearly(self, chat: Chat, question: Question, live: LiveRun) -> Run | Known | LiveRun:
        """Starts the run.

        Where one with this id is just beginning, waits until it has, or has been taken back.
        """
        for _ in range(UNCLEAR_TRIES):
            met = await self._start(chat, question, replace(live, attempt=uuid.uuid4().hex))
            if not (isinstance(met, Known) and met.live) or await self._with.log.begun(chat, question.run_id):
                return met
            await asyncio.sleep(UNCLEAR_SECONDS)
        raise RedisUnavailable(
            "It is not clear yet whether this reply has begun. Send the same message again."
        )

    async def _start(self, chat: Chat, question: Question, live: LiveRun) -> Run | Known | LiveRun:
        parts = self._with
        asked = Asked(question.text, question.digest, question.replaces)
        try:
            also = [parts.leases.hold(chat, live), ("GET", chat.stop)]
            met, (_, stop) = await parts.memory.start(chat, live, asked, also)
            if not isinstance(met, Started):
                await parts.redis.calls([parts.leases.release(live)])
                return met
            live = replace(live, started_ms=met.at_ms)
            run = Run(chat, live, parts.settings, parts.writer.mark)
            if met.stop_at_birth or (
                stop and await self._meant_at_start(run, stop.decode("utf-8", "replace"))
            ):
                run.cut()
        except BaseException:
            self._keep(self._undo(chat, live))
            raise
        parts.runs.add(run)
        if met.crowded:
            self._keep(parts.memory.evict(chat.owner))
        self._keep(parts.turns.live(run, question.text, met.history))
        parts.watcher.started()
        return run

    def _described(self, question: Question) -> LiveRun:
        """The run to be, without its time. Raises `UnknownAgent`."""
        settings, process = self._with.settings, self._with.leases.process
        model = self._with.turns.answerer.model_id(question.agent)
        return LiveRun(
            question.run_id, 0, question.agent, settings.provider, model, settings.backend_id, process, ""
        )

    async def _meant_at_start(self, run: Run, value: str) -> bool:
        if value == run.run_id:
            return True
        if await self._with.stops.at_start(run.chat, value, run.live.started_ms):
            return True
        run.stale_stop = value
        return False

    async def _undo(self, chat: Chat, live: LiveRun) -> None:
        """Takes back a start whose answer was lost, as soon as Redis answers; without it the chat would stay
        busy.
        """
        for _ in range(200):
            try:
                await self._with.memory.undo(chat, live)
                await self._with.redis.calls([self._with.leases.release(live)])
                return
            except RedisUnavailable:
                await asyncio.sleep(UNDO_SECONDS)

    async def _join(self, chat: Chat, question: Question, known: Known) -> Reading:
        reading = await self._with.readers.attach(chat, None) if known.digest == question.digest else None
        if reading and reading.feed.run_id == question.run_id:
            return reading
        if reading:
            reading.close()
        raise RunIdUsed(
            "This run_id has been used in this chat before. Choose a new one.",
            run_id=question.run_id,
            backend=known.backend,
        )

    async def _made_way(self, chat: Chat, live: LiveRun, on_busy: str) -> bool:
        """Whether the run in the way is gone: its backend was, or it was to be replaced."""
        if await self._with.leases.gone(live.process):
            await self._with.settler.settle(chat, live)
            return True
        if on_busy == "replace":
            await self._with.stopping.stop_and_wait(chat)
            return True
        return False

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.opt(exception=error).error("a task failed unexpectedly")
