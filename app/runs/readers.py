"""Who reads a run, from any backend: while it is made here, while it is made elsewhere, and after
it has ended.
"""

import asyncio
import re
from collections.abc import Callable

from app.errors import RedisUnavailable
from app.events import LOST, End
from app.runs.feed import Feed
from app.runs.follow import Followers
from app.runs.held import Runs
from app.store.keys import Chat
from app.store.store import Store

_EVENT_ID = re.compile(r"([A-Za-z0-9_-]{8,64}):([0-9]{1,18})")


class Reading:
    """One reader's place in a feed; it counts as a reader until `close`, which calls `left`.

    `ends`: its leaving ends the run.
    """

    def __init__(
        self,
        feed: Feed,
        after: int = 0,
        left: Callable[[], None] | None = None,
        ends: Callable[[], None] | None = None,
    ) -> None:
        self.feed = feed
        self.after = after
        self.ends = ends
        self._left = left
        feed.readers += 1

    def close(self) -> None:
        """The reader is gone."""
        self.feed.readers -= 1
        for told in (self._left, self.ends):
            if told:
                told()


class Readers:
    """Opens readings of runs made here, made elsewhere, and ended."""

    def __init__(self, store: Store, runs: Runs) -> None:
        self._store = store
        self._runs = runs
        self.followers = Followers(store)
        self._away = 0  # readers of runs that are not made here
        self.none_away = asyncio.Event()
        self.none_away.set()

    async def attach(self, chat: Chat, last_event_id: str | None, *, only: bool = False) -> Reading | None:
        """A reader behind this event of its run; None when there is nothing to send.

        Without an event, or where its run is not kept, a reader of the live or last run from its
        first event, unless `only` the run named counts.
        """
        run_id, after = _seen(last_event_id)
        run = self._runs.get(chat.name)
        if run and run.is_over and await self._is_followed(chat, run.run_id):
            run = None
        state = None if run else await self._store.memory.state(chat)
        live = run.live if run else state.live if state else None
        newest = live.run_id if live else state.fields.get("last_run") if state else None
        if run_id and run_id != newest:
            if only or await self._store.log.begun(chat, run_id):
                return await self._of_ended(chat, run_id, after)
            after = 0
        if run:
            self._runs.metrics.count_reader("here")
            return Reading(run.feed, after)
        if live:
            self._runs.metrics.count_reader("elsewhere")
            return self._of_followed(chat, live.run_id, after)
        return await self._of_ended(chat, newest, after) if newest else None

    async def _is_followed(self, chat: Chat, run_id: str) -> bool:
        """Whether another run has begun since: the answer to an ending here can be lost on its way."""
        try:
            state = await self._store.memory.state(chat)
        except RedisUnavailable:
            return False
        newest = state.live.run_id if state.live else state.fields.get("last_run", run_id)
        return newest != run_id

    def reading_here(self) -> int:
        """How many read on this backend."""
        return sum(run.feed.readers for run in self._runs) + self.followers.reading()

    async def knows(self, chat: Chat, last_event_id: str | None) -> bool:
        """Whether this is an event of a run of this chat."""
        run_id, _ = _seen(last_event_id)
        return bool(run_id) and await self._store.memory.record(chat, run_id) is not None

    def send_away(self) -> None:
        """Lets the readers of runs made elsewhere go; they come back on another backend."""
        self.followers.abandon()

    async def close(self) -> None:
        """Ends every follower."""
        await self.followers.close()

    async def _of_ended(self, chat: Chat, run_id: str, after: int) -> Reading | None:
        last = await self._store.log.last_number(chat, run_id)
        if after > last and await self._was_settled(chat, run_id, last):
            after = last - 1  # it may have seen more than the log of a lost backend kept, but no end
        if after >= last:
            return None
        self._runs.metrics.count_reader("log")
        return self._of_followed(chat, run_id, after)

    async def _was_settled(self, chat: Chat, run_id: str, last: int) -> bool:
        """Whether this run was ended on behalf of its backend."""
        (events,) = await self._store.log.news([(chat, run_id, last - 1)]) if last else ([],)
        end = events[-1] if events else None
        return isinstance(end, End) and end.error is not None and end.error.code == LOST.code

    def _of_followed(self, chat: Chat, run_id: str, after: int) -> Reading:
        feed = self.followers.follow(chat, run_id)
        self._away += 1
        self.none_away.clear()
        return Reading(feed, after, lambda: self._left(chat, run_id))

    def _left(self, chat: Chat, run_id: str) -> None:
        self.followers.left(chat, run_id)
        self._away -= 1
        if not self._away:
            self.none_away.set()


def _seen(last_event_id: str | None) -> tuple[str, int]:
    """The run and the number behind which to go on; no run and 0 where it is missing or malformed."""
    found = _EVENT_ID.fullmatch(last_event_id or "")
    return (found[1], int(found[2])) if found else ("", 0)
