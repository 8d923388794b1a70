"""Who waits here for the end of a run, wherever it is made. The bell wakes, the record in Redis decides."""

import asyncio
import contextlib

from app.store.keys import Chat
from app.store.memory import Memory
from app.store.records import Ending

LOOK_SECONDS = 0.1
GONE = Ending("stopped", "", 0, "")  # the run has ended and its chat was deleted at once


class Endings:
    """Endings of runs on any backend."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._waiting: dict[str, asyncio.Event] = {}
        self._waiters: dict[str, int] = {}

    def rung(self, run_id: str) -> None:
        """A bell said that this run has ended."""
        if event := self._waiting.get(run_id):
            event.set()

    async def wait(self, chat: Chat, run_id: str, seconds: float) -> Ending | None:
        """The ending of a run within so many seconds; None when it has not come, `GONE` when nobody knows any more."""
        event = self._waiting.setdefault(run_id, asyncio.Event())
        self._waiters[run_id] = self._waiters.get(run_id, 0) + 1
        try:
            return await self._look_until(chat, run_id, asyncio.get_running_loop().time() + seconds, event)
        finally:
            self._waiters[run_id] -= 1
            if not self._waiters[run_id]:
                del self._waiting[run_id], self._waiters[run_id]

    async def _look_until(self, chat: Chat, run_id: str, deadline: float, event: asyncio.Event) -> Ending | None:
        time = asyncio.get_running_loop().time
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_SECONDS, max(0, deadline - time()))):
                    await event.wait()
            rung = event.is_set()
            if ending := await self._memory.ending(chat, run_id):
                return ending
            if rung:
                return GONE
            event.clear()
            if time() >= deadline:
                return None
