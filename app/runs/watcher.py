"""Watches over the runs held here: their stops, their deadlines, their readers. One task for all of
them.

A bell makes it look at once; without one it looks every `STOP_POLL_MS`, with one MGET for all runs.
"""

import asyncio
import contextlib
import time

from loguru import logger

from app.clock import READERS_SECONDS
from app.errors import RedisUnavailable
from app.runs.held import Runs
from app.runs.run import Run
from app.store.stops import timestamp_ms
from app.store.store import Store


class Watcher:
    """Takes the bells of stops; `watch` is the task."""

    def __init__(self, store: Store, runs: Runs) -> None:
        self._store = store
        self._runs = runs
        self._poll = runs.settings.stop_poll_ms / 1000
        self._grace = runs.settings.disconnect_grace_seconds
        self._rung: set[str] = set()
        self._wake = asyncio.Event()
        self._due = 0.0
        self._readers_due = 0.0
        store.bells.on_stop, store.bells.on_gap = self._stop_rung, self._missed

    def _stop_rung(self, name: str, value: str) -> None:
        """The bell only wakes where it names no run; the key decides."""
        run = self._runs.get(name)
        value, _, seen = value.partition(" ")
        if run and value == run.run_id:
            if seen.isdigit() and not run.is_cut:
                run.seen = int(seen)
            run.cut()  # its key it consumes when it ends
        elif run:
            self._rung.add(name)
            self._wake.set()

    def _missed(self) -> None:
        """Bells may have been lost: looks at every run."""
        self._rung.update(run.chat.name for run in self._runs)
        self._wake.set()

    async def watch(self) -> None:
        """Watches until it is cancelled. Asks nothing of Redis while no run is held."""
        while True:
            if not len(self._runs):
                await self._runs.some.wait()
                self._due = time.monotonic() + self._poll  # a start looks at its stop key itself
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._due - time.monotonic()):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._look(time.monotonic())
            except RedisUnavailable as error:
                logger.warning(
                    "runs=<{}>, error=<{}> | stop keys not readable", len(self._runs), error.detail
                )

    async def _look(self, now: float) -> None:
        rung, self._rung = self._rung, set()
        if now < self._due:
            await self._check_stops([run for run in self._runs if run.chat.name in rung])
            return
        self._due = now + self._poll
        for run in self._runs:
            if failure := run.reply.patience.overdue(now):
                run.cut(failure)
        await self._check_stops(list(self._runs))
        if self._grace >= 0:
            await self._check_readers(now)

    async def _check_stops(self, runs: list[Run]) -> None:
        if not runs:
            return
        values = await self._store.stops.pending([run.chat for run in runs])
        meant = [
            (run, value) for run, value in zip(runs, values, strict=True) if value and self._meant(run, value)
        ]
        try:  # what waits goes back before the run ends, else it would begin
            await self._store.queues.hand_back([run.chat for run, value in meant if value != run.run_id])
        finally:
            for run, _ in meant:
                run.cut()
        await self._store.stops.consume([(run.chat, value) for run, value in meant])

    @staticmethod
    def _meant(run: Run, value: str) -> bool:
        """Whether a stop key's value means this run; a time means whatever runs, unless it is older."""
        return value == run.run_id or (timestamp_ms(value) is not None and value != run.stale_stop)

    async def _check_readers(self, now: float) -> None:
        for run in self._runs:
            kept = run.feed.readers or run.reply.patience.asks_a_person
            run.unread_since = None if kept else (run.unread_since or now)
        unread = [run for run in self._runs if run.unread_since is not None and not run.alone]
        if not unread or now < self._readers_due:
            return
        self._readers_due = now + min(READERS_SECONDS, self._grace)
        read = await self._store.log.have_readers([run.chat for run in unread])
        for run, elsewhere in zip(unread, read, strict=True):
            if elsewhere:
                run.unread_since = None
            elif run.unread_since is not None and now - run.unread_since >= self._grace:
                logger.info("run_id=<{}>, chat_id=<{}> | nobody reads it any more", run.run_id, run.chat.id)
                run.cut()
