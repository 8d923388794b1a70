"""The bells: pub/sub messages that only wake. What they tell can also be read in Redis, so a lost one costs
one poll.

One connection per process listens; when it breaks or goes silent it is made anew, and every run held is
checked.
"""

import asyncio
import math
import time
from collections.abc import Callable

from loguru import logger
from redis.asyncio.client import PubSub

from app.store.keys import BELLS, bells
from app.store.records import LiveRun
from app.store.wire.connection import TROUBLE, Connection
from app.store.wire.node import Command

PING_SECONDS = 2.0
SILENT_SECONDS = 5.0
RETRY_SECONDS = (0.05, 2.0)


class Bells:
    """Calls `ring(text)` for each bell, and `missed()` after each time some may have been lost."""

    def __init__(
        self, connection: Connection, process: str, ring: Callable[[str], None], missed: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._channels = (BELLS, bells(process))
        self._ring = ring
        self._missed = missed
        self._heard = -math.inf
        self._retry = RETRY_SECONDS[0]

    @property
    def listening(self) -> bool:
        """Whether the link has shown a sign of life lately."""
        return time.monotonic() - self._heard < SILENT_SECONDS

    async def listen(self) -> None:
        """Listens until it is cancelled, whatever happens to the link."""
        while True:
            try:
                async with self._connection.bells.pubsub() as link:
                    await self._hear(link)
            except TROUBLE as error:
                logger.warning(
                    "wait=<{:.1f}>, error=<{}> | wake-up link lost", self._retry, type(error).__name__
                )
            self._heard = -math.inf
            await asyncio.sleep(self._retry)
            self._retry = min(self._retry * 2, RETRY_SECONDS[1])

    async def _hear(self, link: PubSub) -> None:
        await link.subscribe(*self._channels)
        heard = time.monotonic()
        while True:
            message = await link.get_message(timeout=PING_SECONDS)
            if message is None:
                if time.monotonic() - heard > SILENT_SECONDS:
                    raise TimeoutError
                await link.ping()
                continue
            self._heard = heard = time.monotonic()
            match message["type"]:
                case "subscribe" if message["channel"].decode() == self._channels[-1]:
                    self._retry = RETRY_SECONDS[0]
                    logger.info("wake-up link ready")
                    self._missed()
                case "message":
                    self._ring(message["data"].decode("utf-8", "replace"))


def end_bell(run: LiveRun) -> Command:
    """The command that tells all backends that a run has ended."""
    return ("PUBLISH", BELLS, f"ended {run.attempt}")
