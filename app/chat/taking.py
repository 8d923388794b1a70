"""Takes a start back of which nobody knows whether it was carried out."""

import asyncio

from app.chat.turn import Turns
from app.clock import LATE_SECONDS, UNDO_FOR_SECONDS, UNDO_SECONDS
from app.errors import RedisUnavailable
from app.store.asked import Asked
from app.store.commands import release
from app.store.keys import Chat
from app.store.records import LiveRun


async def undo_start(turns: Turns, chat: Chat, live: LiveRun, asked: Asked, *, late: bool) -> None:
    """All of it, as soon as Redis answers; else the chat stays busy.

    With `late` again a little later: a start that was given up may arrive after it was taken back.
    """
    for pause in (0.0, *(LATE_SECONDS if late else ())):
        await asyncio.sleep(pause)
        await _undo_now(turns, chat, live, asked)


async def _undo_now(turns: Turns, chat: Chat, live: LiveRun, asked: Asked) -> None:
    for _ in range(int(UNDO_FOR_SECONDS / UNDO_SECONDS)):
        try:
            await turns.store.memory.undo(chat, live, asked)
            await turns.store.redis.do(release(live))
            await turns.line.leave(live)
            return
        except RedisUnavailable:
            await asyncio.sleep(UNDO_SECONDS)
