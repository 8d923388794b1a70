"""The line before a model that makes only so many replies at once, over all backends: who waits,
who goes.

A run waits inside its turn: it is stored, listed, stoppable and resumable meanwhile. Where Redis
does not answer there is no line rather than no reply.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger

from app.clock import LINE_SECONDS
from app.errors import Overloaded, RateLimited, RedisUnavailable
from app.runs.held import asker
from app.runs.run import Run
from app.settings import Settings
from app.store.queue import Place, Queue
from app.store.records import LiveRun
from app.store.store import Store

MINUTE = 60


class Line:
    """The turns of the runs of this process."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._open = bool(settings.model_parallel or settings.key_max_runs)
        self._parallel = settings.model_parallel
        self._a_minute = settings.key_messages_per_minute
        parallel = settings.model_parallel or settings.queue_max + 10**6  # without a limit nobody waits
        self._queue = Queue(
            store.redis,
            store.leases.process,
            parallel=parallel,
            most=settings.queue_max,
            owner_most=settings.key_max_runs,
        )
        self._called: dict[str, asyncio.Event] = {}
        self._moving: dict[str, asyncio.Lock] = {}
        self._working: set[str] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        store.bells.on_turn = self._ring

    async def counts(self) -> tuple[int, int] | None:
        """How many replies the model makes and how many wait for it; None where nobody has to wait.

        Raises `RedisUnavailable`.
        """
        return await self._queue.counts() if self._parallel else None

    async def enter(self, run: LiveRun) -> None:
        """Takes a place before the run begins. Raises `Overloaded`, `RateLimited`."""
        if not self._open:
            return
        with contextlib.suppress(RedisUnavailable):
            match await self._queue.enter(run.attempt, asker.get()):
                case Place(state="full"):
                    raise Overloaded("Too many replies wait for the model. Try again in a minute.")
                case Place(state="limited"):
                    raise RateLimited(
                        "As many replies as allowed are being made for you. Wait for one to end."
                    )

    async def leave(self, run: LiveRun) -> None:
        """Gives the place back and calls those whose turn it is now."""
        self._working.discard(run.attempt)
        if not self._open:
            return
        try:
            called = await self._queue.leave(run.attempt)
            await self._store.redis.do_all(
                [self._store.bells.turn_bell(attempt, process) for process, attempt in called], check=False
            )
        except RedisUnavailable:
            logger.debug("run_id=<{}> | its place lapses by itself", run.run_id)

    @asynccontextmanager
    async def turn(self, run: Run) -> AsyncIterator[None]:
        """Waits until it is this run's turn, telling its reader where it stands, and holds the turn."""
        if not self._open:
            yield
            return
        event = self._called[run.live.attempt] = asyncio.Event()
        self._moving[run.live.attempt] = asyncio.Lock()
        try:
            await self._wait(run, event)
            self._working.add(run.live.attempt)
            yield
        finally:
            del self._called[run.live.attempt], self._moving[run.live.attempt]
            task = asyncio.create_task(self.leave(run.live), name=f"leave {run.run_id}")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def works(self, run: Run) -> bool:
        """Whether it has a place that others wait for."""
        return run.live.attempt in self._working

    async def step_aside(self, run: Run) -> None:
        """Gives the place back while a person thinks; others work meanwhile."""
        async with self._moving[run.live.attempt]:
            await self.leave(run.live)

    async def come_back(self, run: Run) -> None:
        """Waits for a place again where it was given back."""
        attempt = run.live.attempt
        if self._open and not self.works(run):
            async with self._moving[attempt]:
                await self._wait(run, self._called[attempt])
                self._working.add(attempt)

    async def renew(self) -> None:
        """Keeps the places of the runs whose turn it is. Raises `RedisUnavailable`."""
        if self._working:
            await self._queue.renew(list(self._working))

    async def _wait(self, run: Run, called: asyncio.Event) -> None:
        began = time.monotonic()
        while True:
            called.clear()
            try:
                place = await self._queue.look(run.live.attempt)
                if place.state == "unknown":  # its place has lapsed while Redis was away
                    place = await self._queue.enter(run.live.attempt, run.asker)
            except RedisUnavailable:
                break
            if place.state != "waiting":
                break
            run.reply.queued(place.position, place.ahead, round((time.monotonic() - began) * 1000))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINE_SECONDS):
                    await called.wait()
        run.reply.called()

    async def count_message(self) -> None:
        """Counts a message of who asks. Raises `RateLimited`."""
        if not self._a_minute:
            return
        now, count = time.time(), 0
        with contextlib.suppress(RedisUnavailable):
            count = await self._store.count_in_minute(asker.get(), int(now // MINUTE))
        if count > self._a_minute:
            wait = int(MINUTE - now % MINUTE) + 1
            raise RateLimited("Too many messages in this minute. Wait a little.", retry_after=wait)

    def _ring(self, attempt: str) -> None:
        if event := self._called.get(attempt):
            event.set()
