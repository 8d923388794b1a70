"""Starts the messages that wait, one after the other, on any backend.

Whoever ends a run looks for the next one at once; every heartbeat looks for the chats whose backend
was lost in between. Two may try the same message: START lets one have it.
"""

import asyncio
import time
from typing import TYPE_CHECKING

from loguru import logger

from app.clock import CALLED_SECONDS
from app.errors import Draining, Overloaded, RateLimited, RedisUnavailable, UnknownAgent
from app.runs.run import Run
from app.store.keys import Chat

if TYPE_CHECKING:
    from app.chat.send import Chats


class Next:
    """Who is next in which chat. Never raises."""

    def __init__(self, chats: "Chats") -> None:
        self._chats = chats
        self._looking: set[str] = set()

    async def advance_all(self) -> None:
        """Starts what waits in chats in which nothing runs. Raises `RedisUnavailable`."""
        due = await self._chats.store.queues.due()
        await asyncio.gather(*(self.advance(chat) for chat in due))

    async def advance(self, chat: Chat) -> None:
        """Starts the message whose turn it is; it goes on waiting when this backend takes no more."""
        if chat.name in self._looking:
            return
        self._looking.add(chat.name)
        try:
            await self._start(chat)
        except (Overloaded, RateLimited, Draining):
            logger.debug("chat_id=<{}> | what waits is left to another backend", chat.id)
        except RedisUnavailable as error:
            logger.warning("chat_id=<{}>, error=<{}> | what waits cannot begin", chat.id, error.detail)
        finally:
            self._looking.discard(chat.name)

    async def _start(self, chat: Chat) -> None:
        queues = self._chats.store.queues
        waiting = await queues.first(chat)
        if waiting is None:
            return
        if await queues.stopped(chat, waiting):
            await queues.hand_back([chat])
            return
        try:
            run = await self._chats.call(chat, waiting)
        except UnknownAgent:  # its file has gone since
            run = await self._chats.call(chat, waiting, agent="general")
        if isinstance(run, Run):
            run.unread_since = time.monotonic() + CALLED_SECONDS
