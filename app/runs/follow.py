"""Feeds of runs that are not made here, filled from their logs: of live ones elsewhere, and of
ended ones.

The readers here share one feed per run. A new one is filled page by page; then one read at a time
brings the news of all live ones, so a thousand readers cost Redis one connection.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from loguru import logger

from app.clock import FOLLOW_RETRY_SECONDS, KEPT_SECONDS, NEWS_SECONDS, SHOWN_SECONDS, SILENCE_SECONDS
from app.errors import RedisUnavailable
from app.events import LOST, End, Usage
from app.runs.feed import Feed
from app.store.keys import Chat
from app.store.records import LiveRun
from app.store.store import Store
from app.store.written import written

MOST_KEPT = 16  # feeds of ended runs that wait for another reader
MOST_KEPT_EVENTS = 20_000  # in all of them: an event of one letter weighs a hundred
FILLS = 4  # logs read at once: what their pages hold in Redis's buffers and here is bounded


@dataclass(eq=False, slots=True)
class Followed:
    """One run that is followed here. `current`: all that its log had has been read."""

    chat: Chat
    feed: Feed
    reader: str = field(default_factory=lambda: uuid.uuid4().hex)
    filling: asyncio.Task[None] | None = None
    current: bool = False
    shown_at: float = 0.0
    news_at: float = field(default_factory=time.monotonic)


class Followers:
    """Follows runs as long as somebody reads them, ended ones a little longer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.on_lost: Callable[[Chat, LiveRun], Awaitable[object]] = _nobody
        self._runs: dict[tuple[str, str], Followed] = {}
        self._tail: asyncio.Task[None] | None = None
        self._filling = asyncio.Semaphore(FILLS)
        self._leaving: set[asyncio.Task[None]] = set()

    def follow(self, chat: Chat, run_id: str) -> Feed:
        """The feed of a run; `left` must be called when its reader goes."""
        key = (chat.name, run_id)
        if key not in self._runs:
            run = self._runs[key] = Followed(chat, Feed(chat.id, run_id))
            self._begin(run)
        return self._runs[key].feed

    def left(self, chat: Chat, run_id: str) -> None:
        """Lets go of the run when nobody reads any more."""
        run = self._runs.get((chat.name, run_id))
        if not run or run.feed.readers:
            return
        ended = [len(other.feed.events) for other in self._runs.values() if other.feed.ended]
        if run.feed.ended and len(ended) <= MOST_KEPT and sum(ended) <= MOST_KEPT_EVENTS:
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._drop, run)
        else:
            self._drop(run)

    def reading(self) -> int:
        """How many read what is followed."""
        return sum(run.feed.readers for run in self._runs.values())

    def abandon(self) -> None:
        """Lets all readers go: their streams close without an ending and they come back elsewhere."""
        for run in self._runs.values():
            run.feed.abandon()

    async def close(self) -> None:
        """Ends every task."""
        tasks = [run.filling for run in self._runs.values() if run.filling]
        tasks += [*self._leaving, *([self._tail] if self._tail else [])]
        self._runs.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self, run: Followed) -> None:
        key = (run.chat.name, run.feed.run_id)
        if run.feed.readers or self._runs.get(key) is not run:
            return
        del self._runs[key]
        if run.filling:
            run.filling.cancel()
        if run.shown_at:
            task = asyncio.create_task(self._gone(run))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    # filling

    def _begin(self, run: Followed) -> None:
        run.current = False
        run.filling = asyncio.create_task(self._fill(run), name=f"follow {run.feed.run_id}")

    async def _fill(self, run: Followed) -> None:
        """Reads the log to its end, then leaves the rest to the tail."""
        while not run.feed.ended:
            try:
                async with self._filling:
                    await self._catch_up(run)
                if not run.feed.ended:
                    await self._show([run])
                    await self._explain(run)
                break
            except RedisUnavailable as error:
                logger.warning("run_id=<{}>, error=<{}> | log not readable", run.feed.run_id, error.detail)
                await asyncio.sleep(FOLLOW_RETRY_SECONDS)
            except Exception:  # noqa: BLE001  # the root of a task that readers wait for
                logger.exception("run_id=<{}> | following failed and begins again", run.feed.run_id)
                await asyncio.sleep(FOLLOW_RETRY_SECONDS)
        run.current, run.filling = True, None
        if not run.feed.ended and (self._tail is None or self._tail.done()):
            self._tail = asyncio.create_task(self._follow_all(), name="tail")

    async def _catch_up(self, run: Followed) -> None:
        async for page in self._store.log.pages(run.chat, run.feed.run_id, len(run.feed.events)):
            if isinstance(page[-1], End):
                await written(self._store.redis, run.chat)
            run.feed.add(*page)
            await asyncio.sleep(0)  # a long log is not read in one breath

    # following

    async def _follow_all(self) -> None:
        """Brings the news of all live runs that are followed, until there are none."""
        while runs := [run for run in self._runs.values() if run.current and not run.feed.ended]:
            began = time.monotonic()
            try:
                if not await self._news_of(runs):  # else what is odd in a log would be read without a pause
                    await asyncio.sleep(max(0, began + NEWS_SECONDS - time.monotonic()))
                now = time.monotonic()
                await self._show([run for run in runs if now - run.shown_at > SHOWN_SECONDS])
                for run in runs:
                    if now - run.news_at > SILENCE_SECONDS:
                        run.news_at = now
                        await self._explain(run)
            except RedisUnavailable as error:
                logger.warning("runs=<{}>, error=<{}> | logs not readable", len(runs), error.detail)
                await asyncio.sleep(FOLLOW_RETRY_SECONDS)
            except Exception:  # noqa: BLE001  # the root of a task that many readers wait for
                logger.exception("following failed and goes on")
                await asyncio.sleep(FOLLOW_RETRY_SECONDS)

    async def _news_of(self, runs: list[Followed]) -> bool:
        came = False
        wanted = [(run.chat, run.feed.run_id, len(run.feed.events)) for run in runs]
        for run, events in zip(runs, await self._store.log.news(wanted), strict=True):
            if events and not run.feed.ended:
                ends = isinstance(events[-1], End)
                run.feed.add(*(events[:-1] if ends else events))
                run.news_at, came = time.monotonic(), True
                if ends:  # told once it is written, which no other run waits for
                    self._begin(run)
        return came

    async def _explain(self, run: Followed) -> None:
        """Why nothing comes: the run goes on in silence, or has ended while its log was lost."""
        live = (await self._store.memory.state(run.chat)).live
        if live and live.run_id == run.feed.run_id:
            if await self._store.leases.gone(live.process):  # and nobody has it on a list any more
                await self.on_lost(run.chat, live)
            return
        await self._catch_up(run)
        if not run.feed.ended:
            run.feed.add(await self._unlogged_end(run))

    async def _unlogged_end(self, run: Followed) -> End:
        """The end of a run whose log is gone: recorded in the chat, or the chat was deleted."""
        record = await self._store.memory.record(run.chat, run.feed.run_id)
        outcome = record.outcome or "failed" if record else "stopped"
        return End(outcome, outcome, Usage(0, 0, False), 0, error=LOST if outcome == "failed" else None)

    async def _show(self, runs: list[Followed]) -> None:
        """Lets the backends that make these runs know that somebody reads them here."""
        for run in runs:
            await self._store.log.show_reader(run.chat, run.reader)
            run.shown_at = time.monotonic()

    async def _gone(self, run: Followed) -> None:
        try:
            await self._store.log.drop_reader(run.chat, run.reader)
        except RedisUnavailable:
            logger.debug("reader=<{}> | lapses by itself", run.reader)


async def _nobody(_: Chat, __: LiveRun) -> None:
    """Until somebody who can settle is named."""
