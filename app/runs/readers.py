"""Who reads a run, from any backend: while it is made here, while it is made elsewhere, and after it has
ended.
"""

import re
from collections.abc import Callable

from app.runs.feed import Feed
from app.runs.follow import Followers
from app.runs.held import Runs
from app.store.keys import Chat
from app.store.store import Store

_EVENT_ID = re.compile(r"([A-Za-z0-9_-]{8,64}):([0-9]{1,9})")


class Reading:
    """One reader's place in a feed; it counts as a reader until `close`, which calls `left`."""

    def __init__(self, feed: Feed, after: int = 0, left: Callable[[], None] | None = None) -> None:
        self.feed = feed
        self.after = after
        self._left = left
        feed.readers += 1

    def close(self) -> None:
        """The reader is gone."""
        self.feed.readers -= 1
        if self._left:
            self._left()


class Readers:
    """Opens readings of runs made here, made elsewhere, and ended."""

    def __init__(self, store: Store, runs: Runs) -> None:
        self._store = store
        self._runs = runs
        self._followers = Followers(store)

    async def attach(self, chat: Chat, last_event_id: str | None) -> Reading | None:
        """A reader of the live or last run behind this event; None when there is nothing to send."""
        run = self._runs.get(chat.name)
        if run:
            return Reading(run.feed, _number_seen(last_event_id, run.run_id))
        state = await self._store.memory.state(chat)
        run_id = state.live.run_id if state.live else state.fields.get("last_run")
        if not run_id:
            return None
        after = _number_seen(last_event_id, run_id)
        if not state.live and after >= await self._store.log.last_number(chat, run_id):
            return None
        feed = self._followers.follow(chat, run_id)
        return Reading(feed, after, lambda: self._followers.left(chat, run_id))

    def send_away(self) -> None:
        """Lets the readers of runs made elsewhere go; they come back on another backend."""
        self._followers.abandon()

    async def close(self) -> None:
        """Ends every follower."""
        await self._followers.close()


def _number_seen(last_event_id: str | None, run_id: str) -> int:
    """The number behind which to go on; 0 for an id that is missing, malformed or of another run."""
    found = _EVENT_ID.fullmatch(last_event_id or "")
    return int(found[2]) if found and found[1] == run_id else 0
