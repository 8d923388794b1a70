"""One run in this process: the task that makes a reply, and what cuts it. Knows neither HTTP, Redis
nor Strands.

A reader may leave, lag or return without changing it. It ends when its model is through or when it
is cut, and what cut it first decides how it ended.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from app.agents.wishes import PLAIN
from app.clock import OPENING_SECONDS
from app.events import Failure, Start
from app.runs.feed import Feed
from app.runs.reply import Reply
from app.runs.scale import Scale
from app.settings import Settings
from app.store.keys import Chat
from app.store.records import LiveRun, Message


class Run:
    """A run held here. `on_event` is told of each event that its log lacks."""

    def __init__(
        self,
        chat: Chat,
        live: LiveRun,
        settings: Settings,
        on_event: Callable[["Run"], None],
        asker: str = "",
        *,
        scale: Scale | None = None,
    ) -> None:
        self.chat = chat
        self.live = live
        self.asker = asker  # whose place it takes
        self.feed = Feed(chat.id, live.run_id)
        self.reply = Reply(self.feed, settings, lambda: on_event(self), self.cut, scale=scale)
        self.stale_stop: str | None = None  # a stop key older than this run
        self.cut_by: Failure | None = None
        self.before: Message | None = None  # the reply that it continues
        self.seen: int | None = None  # the last event that whoever stopped it had seen
        self.unread_since: float | None = None
        self.alone = False  # goes on without readers
        self.brought = False  # its client brings the whole conversation
        self.wishes = PLAIN
        self._on_event = on_event
        self.on_closed: Callable[[float], None] = lambda _: None  # told when a cut model's connection is
        self._cut_at: float | None = None
        self._inner: asyncio.Task[str] | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def run_id(self) -> str:
        return self.live.run_id

    @property
    def is_cut(self) -> bool:
        """Whether it was ended before its model was through."""
        return self.reply.closed

    @property
    def is_over(self) -> bool:
        """Whether nothing is made any more: its ending is being written, or has been."""
        return self._over.done()

    def open(self, event: Start) -> None:
        """The first event; a quick model's first text goes into the log together with it."""
        self.feed.events.append(event)
        asyncio.get_running_loop().call_later(OPENING_SECONDS, self._on_event, self)

    async def make(self, answer: Coroutine[Any, Any, str]) -> str:
        """Makes the reply; the stop reason of the model.

        Raises what the model raised; a cut run returns early.
        """
        if self.is_cut:
            answer.close()
            return "stopped"
        self._inner = inner = asyncio.create_task(answer, name=f"answer {self.run_id}")
        inner.add_done_callback(self._through)
        try:
            await self._over
        except asyncio.CancelledError:
            inner.cancel()
            raise
        return "stopped" if self.is_cut else inner.result()

    def cut(self, failure: Failure | None = None) -> None:
        """Ends the run now: as stopped, or as failed for this reason. Only the first cut counts."""
        if self.is_cut or self.feed.ended:
            return
        self.reply.closed, self.cut_by = True, failure
        self._wake()  # the ending is written while the model's connection closes
        if self._inner:
            self._cut_at = time.monotonic()
            self._inner.cancel()

    def let_go(self) -> None:
        """It has ended: nothing here holds anything any more, so it is freed at once."""
        self.reply.closed = True
        self.reply.detach()
        self._wake()

    def _through(self, inner: asyncio.Task[str]) -> None:
        self._inner = None  # else its traceback holds the run, and the run holds it
        self._wake()
        if self._cut_at is not None:
            self.on_closed(time.monotonic() - self._cut_at)
        if not inner.cancelled():
            inner.exception()  # one that comes after the cut interests nobody

    def _wake(self) -> None:
        if not self._over.done():
            self._over.set_result(None)
