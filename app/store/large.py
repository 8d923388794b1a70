"""Large chats go out one after the other: what is made of one holds up everything else here for some
hundredths of a second. Knows nothing of what is read.
"""

import asyncio
from collections.abc import Sequence

LARGE = 256 * 1024  # bytes
PAUSE_SECONDS = 0.1  # in which others get their turn; whoever reads alone does not wait


class Large:
    """A turnstile behind the reading of chats."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def passed(self, lines: Sequence[bytes], others: asyncio.Semaphore) -> None:
        """Returns when it is the turn of a chat of these lines, while others want to be read."""
        if others.locked() and sum(map(len, lines)) > LARGE:
            async with self._turn:
                await asyncio.sleep(PAUSE_SECONDS)
