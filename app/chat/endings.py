"""Who waits here for the end of a run, wherever it is made. The bell wakes, the record in Redis decides."""

import asyncio
import contextlib
from collections import deque

from app.store.keys import Chat
from app.store.memory import Memory
from app.store.records import Ending, LiveRun

LOOK_SECONDS = 0.1
HEARD = 256  # bells remembered: a run can end before the stop that ended it is answered here
GONE = Ending("stopped", "", 0, "")  # the run has ended and its chat was deleted at once


class Endings:
    """Endings of runs on any backend, told apart by their attempt: a run id is the client's choice."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._waiting: dict[str, asyncio.Event] = {}
        self._heard: deque[str] = deque(maxlen=HEARD)

    def rung(self, attempt: str) -> None:
        """A bell said that this run has ended."""
        self._heard.append(attempt)
        if event := self._waiting.get(attempt):
            event.set()

    async def wait(self, chat: Chat, run: LiveRun, seconds: float) -> Ending | None:
        """The ending of a run within so many seconds; None when it has not come, `GONE` when nobody knows any
        more.

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

    async def _look_until(
        self, chat: Chat, run_id: str, deadline: float, event: asyncio.Event
    ) -> Ending | None:
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
