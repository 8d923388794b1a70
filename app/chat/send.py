"""Sends to a chat and deletes it.

How a run lives once it has begun is in `turn`, who reads it in `runs/readers`.
"""

import asyncio
import contextlib
import uuid
from dataclasses import replace

from app.agents.wishes import wished
from app.chat.handed import check_sight
from app.chat.naming import Naming
from app.chat.question import Question
from app.chat.queued import Next
from app.chat.stop import Stopping
from app.chat.taking import undo_start
from app.chat.tasks import Tasks
from app.chat.turn import Turns
from app.clock import SEND_SECONDS, UNCLEAR_LOOK_SECONDS, UNCLEAR_SECONDS
from app.errors import ChatBusy, NotFound, RedisUnavailable, RunIdUsed
from app.runs.held import asker
from app.runs.readers import Readers, Reading
from app.runs.run import Run
from app.store.commands import hold, release
from app.store.keys import Chat
from app.store.lines import as_text
from app.store.records import Known, LiveRun, Message, OtherAgent, Started
from app.store.stops import timestamp_ms
from app.store.waiting import Waiting
from app.store.wire.script import command

TRIES = 5

_BUSY = "A reply is being made in this chat. Stop it first, or send with on_busy=replace."
_UNCLEAR = "It is not clear yet whether this reply has begun. Send the same message again."
_UNSTOPPED = "The reply in this chat could not be stopped. Try again in a few seconds."
_USED = "This run_id has been used in this chat before. Choose a new one."


class Chats:
    """Sends and deletes; holds the tasks of the runs."""

    def __init__(self, turns: Turns, readers: Readers, stopping: Stopping) -> None:
        self._turns = turns
        self.store = self._store = turns.store
        self.next = Next(self)
        self._naming = Naming(turns.store, turns.answerer)
        self._runs = turns.runs
        self._readers = readers
        self._stopping = stopping
        self._tasks = Tasks()

    async def send(self, chat: Chat, question: Question, *, leaving_ends: bool = False) -> Reading:
        """Starts a run, or joins the one with this id, and returns a reader of it from its first
        event.

        With `leaving_ends` the run ends when that reader leaves. Raises `UnknownAgent`, `ChatBusy`,
        `NoVision`, `RunIdUsed`, `NotFound`, `NotOpen`, `Overloaded`, `Draining`, `RedisUnavailable`.
        """
        met = await self.send_or_wait(chat, question, leaving_ends=leaving_ends)
        if isinstance(met, Waiting):
            raise ChatBusy(_BUSY, run_id=met.run_id)
        return met

    async def send_or_wait(
        self, chat: Chat, question: Question, *, leaving_ends: bool = False
    ) -> Reading | Waiting:
        """As `send`, but a message may wait in the queue of the chat. Raises `QueueFull` too."""
        live = self._described(question)
        if question.on_busy == "queue":
            await self._store.queues.list_idle(chat)
        try:
            return await self._sent(chat, question, live, leaving_ends)
        except BaseException:
            if question.on_busy == "replace":
                self._tasks.keep(self._clear_the_way(chat, question))
            raise

    async def _sent(
        self, chat: Chat, question: Question, live: LiveRun, leaving_ends: bool
    ) -> Reading | Waiting:
        clear_by = asyncio.get_running_loop().time() + UNCLEAR_SECONDS
        with self._runs.place():
            await self._turns.line.count_message()
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._turns.answerer.floods.asks(asker.get())
                    while True:
                        await check_sight(self._store, self._turns.answerer, chat, question)
                        match await self._start(chat, question, replace(live, attempt=uuid.uuid4().hex)):
                            case Run() as run:
                                return Reading(run.feed, ends=run.cut if leaving_ends else None)
                            case Known() as known:
                                if await self._clear(chat, question, known, clear_by):
                                    return await self._join(chat, question, known)
                            case Waiting() as waiting:
                                return self._waits(question, waiting)
                            case LiveRun() as busy:
                                await self._make_way(chat, busy, question.on_busy)
                            case OtherAgent(name):
                                question = replace(question, agent=name, chosen=True)
                                live = self._described(question)
            except TimeoutError:
                raise RedisUnavailable(_UNSTOPPED) from None

    async def call(self, chat: Chat, waiting: Waiting, agent: str = "") -> object:
        """Starts a message that waited; its run, or what was in the way.

        Raises `UnknownAgent`, `Overloaded`, `Draining`, `RedisUnavailable`.
        """
        question = Question(
            waiting.text, agent or waiting.agent, waiting.run_id, "queue", line="head",
            files=tuple(waiting.files),
        )  # fmt: skip
        live = self._described(question)
        with self._runs.place():
            return await self._start(chat, question, replace(live, attempt=uuid.uuid4().hex))

    async def delete(self, chat: Chat) -> None:
        """Stops what runs and forgets the chat. Raises `NotFound`, `RedisUnavailable`."""
        for _ in range(TRIES):
            answer = await self._store.shelf.delete(chat)
            if answer == "unknown":
                raise NotFound("There is no such chat.")
            if answer == "deleted":
                return
            await self._stopping.stop_and_wait(chat)
        raise RedisUnavailable(_UNSTOPPED)

    async def close(self, seconds: float) -> None:
        """Waits so long for the endings, then gives up on them."""
        await self._tasks.close(seconds)

    async def _start(
        self, chat: Chat, question: Question, live: LiveRun
    ) -> Run | Known | LiveRun | Waiting | OtherAgent:
        await self._turns.line.enter(live)
        asked = question.for_memory()
        try:
            also = [hold(chat, live), command("MGET", chat.stop)]  # MGET: nothing where it is no string
            met, (_, (stop,)) = await self._store.memory.start(chat, live, asked, also)
            if not isinstance(met, Started):
                await self._store.redis.do(release(live))
                await self._turns.line.leave(live)
                return met
            run = self._runs.make(chat, replace(live, started_ms=met.at_ms))
            after = met.last.ended_ms if met.last and question.line != "head" else 0
            if stop and await self._meant_at_start(run, as_text(stop), after):
                run.cut()
            if met.stop_at_birth:
                run.cut()
        except BaseException as error:
            unclear = isinstance(error, RedisUnavailable | asyncio.CancelledError)
            self._tasks.keep(undo_start(self._turns, chat, live, asked, late=unclear))
            raise
        run.wishes = wished(question.wishes, met.instructions, met.temperature)
        run.alone, run.brought = question.alone, question.turns is not None
        self._runs.add(run)
        if met.crowded:
            self._tasks.keep(self._store.shelf.evict(chat.owner))
        first = question.turns is None and question.keep and len(met.history) == 1
        self._tasks.keep(self._live(run, question.text, question.history(met.history), first=first))
        return run

    async def _live(self, run: Run, question: str, history: list[Message], *, first: bool) -> None:
        if await self._turns.live(run, history):
            await self.next.advance(run.chat)
        if first:
            await self._naming.after(run, question)

    def _waits(self, question: Question, waiting: Waiting) -> Waiting:
        if (waiting.text, waiting.agent, waiting.files) != (question.text, question.agent, [*question.files]):
            raise RunIdUsed(_USED, run_id=question.run_id)
        return waiting

    async def _clear_the_way(self, chat: Chat, question: Question) -> None:
        """What waits goes on at once where a message that was to go ahead of it is refused."""
        with contextlib.suppress(RedisUnavailable):
            await self._store.queues.clear_the_way(chat, question.run_id)
            await self.next.advance(chat)

    def _described(self, question: Question) -> LiveRun:
        """The run to be, without its time. Raises `UnknownAgent`."""
        settings, process = self._runs.settings, self._store.leases.process
        model = self._turns.answerer.model_id(question.agent)
        return LiveRun(
            question.run_id, 0, question.agent, settings.provider, model, settings.backend_id, process, "",
            question.keep, question.continues is not None,
        )  # fmt: skip

    async def _meant_at_start(self, run: Run, value: str, after_ms: int) -> bool:
        """Whether a stop key found at its start means this run; a time before `after_ms` meant another."""
        if value == run.run_id:
            return True  # its ending consumes it
        at_ms = timestamp_ms(value)
        if at_ms is None and not await self._store.memory.record(run.chat, value):
            return False  # it means a run to come
        meant = at_ms is not None and self._store.stops.is_fresh(at_ms, run.live.started_ms, after_ms)
        if meant:
            await self._store.queues.hand_back([run.chat])
        else:
            run.stale_stop = value
        await self._store.stops.consume([(run.chat, value)])
        return meant

    async def _clear(self, chat: Chat, question: Question, known: Known, clear_by: float) -> bool:
        """Whether the run with this id has begun; where it is just beginning, looks again a little later."""
        if not known.live or await self._store.log.begun(chat, question.run_id):
            return True
        if asyncio.get_running_loop().time() > clear_by:
            raise RedisUnavailable(_UNCLEAR)
        await asyncio.sleep(UNCLEAR_LOOK_SECONDS)
        return False

    async def _join(self, chat: Chat, question: Question, known: Known) -> Reading:
        reading = await self._readers.attach(chat, None) if known.digest == question.digest else None
        if reading and reading.feed.run_id == question.run_id:
            return reading
        if reading:
            reading.close()
        raise RunIdUsed(_USED, run_id=question.run_id, backend=known.backend)

    async def _make_way(self, chat: Chat, live: LiveRun, on_busy: str) -> None:
        """Settles the run in the way when its backend is gone, stops it when it is to be replaced.

        Raises `ChatBusy` for one that stays; then nobody has been stopped by this request.
        """
        if await self._store.leases.gone(live.process):
            await self._turns.settler.settle(chat, live)
        elif on_busy == "replace":
            await self._stopping.stop_and_wait(chat, live.run_id)
        else:
            raise ChatBusy(_BUSY, run_id=live.run_id, backend=live.backend)
