"""Carries the events of all runs held here into their logs in Redis: one task, one round trip for
all of them.

What is in the log is shown to the readers here; those on other backends are behind by one round at
the most.
"""

import asyncio

from loguru import logger

from app.clock import LOG_REST_SECONDS, LOG_RETRY_SECONDS, TROUBLE_SECONDS
from app.errors import RedisUnavailable
from app.events import Failure
from app.runs.run import Run
from app.store.eventlog import News
from app.store.store import Store

OUT_OF_TOUCH = Failure(
    "backend_lost", "The backend that made this reply was out of touch, so the reply was ended."
)


class LogWriter:
    """`mark` a run that has news; `write` is the task.

    Between two rounds events gather, for a round costs more than what is in it; a reply that begins
    does not wait.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._news: dict[Run, None] = {}
        self._wake = asyncio.Event()
        self._writing = False
        self._due = 0.0  # when the next round may begin
        self._timer: asyncio.TimerHandle | None = None
        self._trouble = False

    def mark(self, run: Run) -> None:
        """This run has events that its log lacks."""
        if self._trouble:
            run.feed.show()
        if run in self._news:
            return
        self._news[run] = None
        if run.feed.logged < 2:
            self._wake.set()
        elif len(self._news) == 1 and not self._writing:
            self._wake_later()

    async def write(self) -> None:
        """Writes until it is cancelled; what could not be written is tried again."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._writing = True
            runs, self._news = [run for run in self._news if not run.feed.ended], {}
            slow = loop.call_later(TROUBLE_SECONDS, self._show, runs)
            try:
                await self._round(runs)
            except RedisUnavailable as error:
                logger.warning("runs=<{}>, error=<{}> | events wait", len(runs), error.detail)
                await self._again(runs)
            slow.cancel()
            self._writing = False
            self._due = loop.time() + LOG_REST_SECONDS
            if self._news:
                self._wake_later()

    def _wake_later(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._due, self._wake.set)

    async def _round(self, runs: list[Run]) -> None:
        answers = await self._store.log.append(
            [News(run.chat, run.run_id, run.feed.unlogged, run.feed.logged + 1) for run in runs]
        )
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
