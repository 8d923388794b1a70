"""Who asks for much, and models that speak faster than anybody reads, leave the loop to the others.

Knows no model and no request. Nobody waits here while nothing else is to be done.
"""

import asyncio
from collections import Counter

AT_ONCE = 6000  # characters that a model may say in a moment before the others have their turn
EACH_CHARS = 40  # what a piece costs besides its characters, counted as such
MOMENT = 0.02  # seconds
TURNS = 4  # of the loop, for all else, between two of one kind
MOST_SEEN = 1000
MODELS = "\n"  # no name of who asks: all models that flood


class Floods:
    """One per process: of those of one kind one goes on at a time, and all else in between."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._here: Counter[str] = Counter()
        self._seen: dict[str, float] = {}  # when who asks was here last

    async def asks(self, who: str) -> None:
        """Lets who asks for one thing go on at once, and who asks for many one by one."""
        now = asyncio.get_running_loop().time()
        alone = now - self._seen.get(who, 0) > MOMENT and not self._here[who]
        if len(self._seen) > MOST_SEEN:
            self._seen.clear()
        self._seen[who] = now
        if not alone:
            await self.others_first(who)

    async def others_first(self, kind: str = MODELS) -> None:
        """Waits for those of this kind that came before, and for some turns of the loop."""
        lock = self._locks.setdefault(kind, asyncio.Lock())
        self._here[kind] += 1
        try:
            async with lock:
                for _ in range(TURNS):
                    await asyncio.sleep(0)
        finally:
            self._here[kind] -= 1
            if not self._here[kind]:
                del self._here[kind], self._locks[kind]


class Flood:
    """What one model says, measured."""

    def __init__(self, floods: Floods) -> None:
        self._floods = floods
        self._said = 0
        self._since = 0.0

    async def says(self, chars: int) -> None:
        """So many characters came; waits when that is more than may come in a moment."""
        now = asyncio.get_running_loop().time()
        if now - self._since > MOMENT:
            self._said, self._since = 0, now
        self._said += chars + EACH_CHARS
        if self._said >= AT_ONCE:
            self._said = 0
            await self._floods.others_first()
