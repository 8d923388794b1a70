"""Work that goes on by itself: held until it is done, so that none is lost, and told when it fails."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from loguru import logger


class Tasks:
    """What nobody awaits."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, coroutine: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Begins it and holds it until it is done."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    async def close(self, seconds: float = 0) -> None:
        """Waits so long for all of them, then gives up on them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.opt(exception=error).error("a task failed unexpectedly")
