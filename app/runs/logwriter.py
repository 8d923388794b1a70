"""Carries the events of all runs held here into their logs in Redis: one task, one round trip for
all of them.

What is in the log is shown to the readers here; those on other backends are behind by one round at
the most.
"""

import asyncio
import contextlib

from loguru import logger

from app.clock import LOG_RETRY_SECONDS, TROUBLE_SECONDS
from app.errors import RedisUnavailable
from app.events import Failure
from app.runs.run import Run
from app.store.store import Store

RESTS = (0.003, 0.02)  # seconds after a round of more than one run: many streams go in larger, rarer rounds
REST_PER_RUN = 0.00025

OUT_OF_TOUCH = Failure(
    "backend_lost", "The backend that made this reply was out of touch, so the reply was ended."
)


class LogWriter:
    """`mark` a run that has news; `write` is the task."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._news: dict[Run, None] = {}
        self._more = asyncio.Event()
        self._first_words = asyncio.Event()
        self._trouble = False

    def mark(self, run: Run) -> None:
        """This run has events that its log lacks."""
        if self._trouble:
            run.feed.show()
        if run not in self._news:
            self._news[run] = None
            self._more.set()
            if run.feed.logged < 2:
                self._first_words.set()

    async def write(self) -> None:
        """Writes until it is cancelled; what could not be written is tried again."""
        while True:
            await self._more.wait()
            self._more.clear()
            self._first_words.clear()
            runs, self._news = [run for run in self._news if not run.feed.ended], {}
            slow = asyncio.get_running_loop().call_later(TROUBLE_SECONDS, self._show, runs)
            try:
                await self._round(runs)
            except RedisUnavailable as error:
                logger.warning("runs=<{}>, error=<{}> | events wait", len(runs), error.detail)
                await self._again(runs)
            slow.cancel()
            await self._rest(len(runs))

    async def _round(self, runs: list[Run]) -> None:
        feeds = [(run, run.feed) for run in runs]
        appended = [
            self._store.log.append(run.chat, run.run_id, feed.unlogged, feed.logged + 1)
            for run, feed in feeds
        ]
        answers = await self._store.redis.do_all(appended, check=False)
        self._trouble = False
        refused = []
        for run, answer in zip(runs, answers, strict=True):
            if isinstance(answer, int) and answer >= 0:
                run.feed.was_logged(answer)
                if run.feed.unlogged:
                    self.mark(run)
            elif answer == -1:
                run.cut(OUT_OF_TOUCH)
            else:
                refused.append(run)
        if refused:
            await self._again(refused)

    async def _again(self, runs: list[Run]) -> None:
        self._show(runs)
        await asyncio.sleep(LOG_RETRY_SECONDS)
        for run in runs:
            self.mark(run)

    def _show(self, runs: list[Run]) -> None:
        """Redis is in trouble: readers here see events that are in memory only, until it is well again."""
        self._trouble = True
        for run in runs:
            run.feed.show()

    async def _rest(self, runs: int) -> None:
        """Lets events gather after a round of so many runs; neither a reply alone nor one that
        begins waits for it.
        """
        if runs > 1:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(RESTS[0], runs * REST_PER_RUN), RESTS[1])):
                    await self._first_words.wait()
