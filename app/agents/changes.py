"""Files that may change while a backend runs: looked at every second, read again when they have changed
and rest. Knows nothing of what is in them.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from loguru import logger

LOOK_SECONDS = 1.0
AGAIN_SECONDS = 30.0  # where reading failed for a reason that no file tells


def state(place: str, ending: str = "") -> Any:
    """What a file, or the files of a folder with this ending, are known by."""
    path = Path(place)
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return None
    found = []
    for file in files:
        if file is path or file.suffix.lower() == ending:
            with contextlib.suppress(OSError):
                about = file.stat()
                found.append((file.name, about.st_mtime_ns, about.st_size, about.st_ino, about.st_nlink))
    return found


class Watch:
    """Calls `read` when what `look` tells has changed; it answers whether that went well."""

    def __init__(self, look: Callable[[], Any], read: Callable[[], Awaitable[bool]], taken: Any) -> None:
        self._look = look
        self._read = read
        self._taken = taken
        self._again_at: float | None = None

    async def watch(self) -> None:
        """Until it is cancelled."""
        before = self._taken
        while True:
            try:
                now = await asyncio.to_thread(self._look)
                if before is None or now == before:  # else somebody writes
                    await self._act(now)
                before = now
            except Exception:  # noqa: BLE001  # the root of a task
                logger.exception("files cannot be looked at")
            await asyncio.sleep(LOOK_SECONDS)

    async def _act(self, now: Any) -> None:
        time = asyncio.get_running_loop().time()
        if now == self._taken and (self._again_at is None or time < self._again_at):
            return
        self._taken = now
        self._again_at = None if await self._read() else time + AGAIN_SECONDS
