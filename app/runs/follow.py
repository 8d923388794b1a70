"""Feeds of runs that another backend makes, filled from their logs; readers here share one per run."""

import asyncio
import time
import uuid

from loguru import logger

from app.clock import FOLLOW_RETRY_SECONDS, SHOWN_SECONDS
from app.errors import RedisUnavailable
from app.events import LOST, End, Usage
from app.runs.feed import Feed
from app.store.keys import Chat
from app.store.store import Store


class Followers:
    """Feeds by run; one lives as long as somebody reads it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds: dict[tuple[str, str], tuple[Feed, asyncio.Task[None]]] = {}

    def follow(self, chat: Chat, run_id: str) -> Feed:
        """The feed of a run; `left` must be called when its reader goes."""
        key = (chat.name, run_id)
        if key not in self._feeds:
            feed = Feed(chat.id, run_id)
            self._feeds[key] = (feed, asyncio.create_task(self._follow(chat, feed), name=f"follow {run_id}"))
        return self._feeds[key][0]

    def left(self, chat: Chat, run_id: str) -> None:
        """Stops following when nobody reads any more."""
        feed, task = self._feeds.get((chat.name, run_id), (None, None))
        if feed and task and not feed.readers:
            del self._feeds[chat.name, run_id]
            task.cancel()

    def abandon(self) -> None:
        """Lets all readers go; their streams close without an ending and they come back elsewhere."""
        for feed, _ in self._feeds.values():
            feed.abandon()

    async def close(self) -> None:
        """Ends every follower."""
        tasks = [task for _, task in self._feeds.values()]
        self._feeds.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, chat: Chat, feed: Feed) -> None:
        reader, shown = uuid.uuid4().hex, -SHOWN_SECONDS
        try:
            while not feed.ended:
                try:
                    if time.monotonic() - shown > SHOWN_SECONDS:
                        await self._store.log.show_reader(chat, reader)
                        shown = time.monotonic()
                    await self._take_next(chat, feed)
                except RedisUnavailable as error:
                    logger.warning("run_id=<{}>, error=<{}> | log not readable", feed.run_id, error.detail)
                    await asyncio.sleep(FOLLOW_RETRY_SECONDS)
        finally:
            await asyncio.shield(asyncio.ensure_future(self._gone(chat, reader)))

    async def _take_next(self, chat: Chat, feed: Feed) -> None:
        """Takes the next events, or finds out why none come."""
        events = await self._store.log.next(chat, feed.run_id, len(feed.events))
        if events:
            feed.add(*events)
            return
        live = (await self._store.memory.state(chat)).live
        if live and live.run_id == feed.run_id:
            return
        rest = await self._store.log.read(chat, feed.run_id)
        feed.add(*rest[len(feed.events) :])
        if not feed.ended:
            feed.add(await self._unlogged_end(chat, feed.run_id))

    async def _unlogged_end(self, chat: Chat, run_id: str) -> End:
        """The end of a run whose log is gone: recorded in the chat, or the chat was deleted."""
        ending = await self._store.memory.record(chat, run_id)
        outcome = ending.outcome or "failed" if ending else "stopped"
        return End(outcome, outcome, Usage(0, 0, False), 0, error=LOST if outcome == "failed" else None)

    async def _gone(self, chat: Chat, reader: str) -> None:
        try:
            await self._store.log.drop_reader(chat, reader)
        except RedisUnavailable:
            logger.debug("reader=<{}> | lapses by itself", reader)
