"""What became of runs on any backend: their endings, awaited by whoever stops them."""

import asyncio
import contextlib
import time
from collections import deque

from app.clock import LOOK_SECONDS, UNCLEAR_SECONDS, UNDO_SECONDS
from app.store.keys import Chat
from app.store.records import GONE, LiveRun, RunRecord
from app.store.store import Store

HEARD = 256  # bells remembered: a run can end before the stop that ended it is answered here


class Awaited:
    """Endings of runs on any backend, told apart by their attempt: a run id is the client's choice."""

    def __init__(self, store: Store) -> None:
        self._memory, self._log, self._leases = store.memory, store.log, store.leases
        self._waiting: dict[str, asyncio.Event] = {}
        self._heard: deque[str] = deque(maxlen=HEARD)
        store.bells.on_end = self._rung

    def _rung(self, attempt: str) -> None:
        """A bell said that this run has ended."""
        self._heard.append(attempt)
        if event := self._waiting.get(attempt):
            event.set()

    async def wait(self, chat: Chat, run: LiveRun, seconds: float) -> RunRecord | None:
        """The record of a run that has ended, within so many seconds; None when it has not come,
        `GONE` when nobody knows any more.

        One waits for a run at a time.
        """
        event = self._waiting[run.attempt] = asyncio.Event()
        if run.attempt in self._heard:
            event.set()
        try:
            return await self._look_until(
                chat, run.run_id, asyncio.get_running_loop().time() + seconds, event
            )
        finally:
            del self._waiting[run.attempt]

    async def is_taken_back(self, chat: Chat, run: LiveRun) -> bool:
        """Whether a run that has not begun goes by itself: a living process may be taking its start back."""
        until = time.monotonic() + UNCLEAR_SECONDS + UNDO_SECONDS
        while time.monotonic() < until and not await self._log.begun(chat, run.run_id):
            (live,) = await self._memory.live([chat])
            if live is None or live.attempt != run.attempt:
                return True
            if await self._leases.gone(run.process):
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def is_making(self, chat: Chat, run: LiveRun) -> bool:
        """Whether its log grows: then its backend lives, and has not heard of the stop yet."""
        before = await self._log.last_number(chat, run.run_id)
        await asyncio.sleep(LOOK_SECONDS)
        return await self._log.last_number(chat, run.run_id) > before

    async def _look_until(
        self, chat: Chat, run_id: str, deadline: float, event: asyncio.Event
    ) -> RunRecord | None:
        time = asyncio.get_running_loop().time
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_SECONDS, max(0, deadline - time()))):
                    await event.wait()
            rung = event.is_set()
            if (record := await self._memory.record(chat, run_id)) and record.outcome:
                return record
            if rung:
                return GONE
            event.clear()
            if time() >= deadline:
                return None
