"""Carries the events of all runs held here into their logs in Redis: one task, one round trip for all of them.

Readers on this backend never wait for it; those on others are behind by one round at the most.
"""

import asyncio

from loguru import logger

from app.errors import RedisUnavailable
from app.events import Failure
from app.runs import Run
from app.store.connect import Connection
from app.store.eventlog import BATCH, EventLog

ROUND_SECONDS = 0.05
RETRY_SECONDS = 0.5

LOST = Failure("backend_lost", "The backend that made this reply was out of touch, so the reply was ended.")


class LogWriter:
    """`mark` a run that has news; `write` is the task."""

    def __init__(self, connection: Connection, log: EventLog) -> None:
        self._redis = connection
        self._log = log
        self._news: dict[Run, None] = {}
        self._more = asyncio.Event()

    def mark(self, run: Run) -> None:
        """This run has events that its log lacks."""
        if run not in self._news:
            self._news[run] = None
            self._more.set()

    async def write(self) -> None:
        """Writes until it is cancelled; what could not be written is tried again."""
        while True:
            await self._more.wait()
            self._more.clear()
            runs, self._news = [run for run in self._news if not run.feed.ended], {}
            try:
                await self._round(runs)
            except RedisUnavailable as error:
                logger.warning("runs=<{}>, error=<{}> | events wait", len(runs), error.detail)
                await self._again(runs, RETRY_SECONDS)
            await asyncio.sleep(ROUND_SECONDS)

    async def _round(self, runs: list[Run]) -> None:
        batches = [(run, run.logged, run.feed.events[run.logged : run.logged + BATCH]) for run in runs]
        commands = [self._log.append(run.chat, run.run_id, events, first + 1) for run, first, events in batches]
        answers = await self._redis.calls(commands, check=False) if commands else []
        for (run, first, events), answer in zip(batches, answers, strict=True):
            if answer == 1:
                run.logged = first + len(events)
                if run.logged < len(run.feed.events):
                    self.mark(run)
            elif answer == 0:
                run.cut(LOST)
            else:
                await self._again([run], RETRY_SECONDS)

    async def _again(self, runs: list[Run], seconds: float) -> None:
        await asyncio.sleep(seconds)
        for run in runs:
            self.mark(run)
