"""The replies being made in this process. Knows neither HTTP, Redis commands nor Strands.

A run is a task of its own: a reader may leave, lag or return without changing it. It ends when its model is
through or when it is cut, and what cut it first decides how it ended.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from app.events import Event, Failure, Reasoning, Start, Text, Tool, Usage
from app.runs.clean import Cleaner
from app.runs.feed import Feed
from app.settings import Settings
from app.store.keys import Chat
from app.store.records import LiveRun

OPENING_SECONDS = 0.003
MOST_CHARS = 1_000_000  # a reply that never ends is ended here


class Run:
    """One reply being made; also the sink into which the agent pours what it says."""

    def __init__(
        self, chat: Chat, live: LiveRun, settings: Settings, on_event: Callable[["Run"], None]
    ) -> None:
        self.chat = chat
        self.live = live
        self.feed = Feed(chat.id, live.run_id)
        self.logged = 0  # events that the log in Redis has for certain
        self.stale_stop: str | None = None  # a stop key older than this run
        self.started = time.monotonic()
        self.first_token: float | None = None
        self.cut_by: Failure | None = None
        self.is_cut = False
        self.unread_since: float | None = None
        self._settings = settings
        self._deadline = (self.started + settings.run_timeout_seconds, "")
        self._cleaner = Cleaner()
        self._inner: asyncio.Task[str] | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._usage = Usage(0, 0, True)
        self._chars = 0
        self._on_event = on_event

    @property
    def run_id(self) -> str:
        return self.live.run_id

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
        self.is_cut, self.cut_by = True, failure
        self._wake()  # the ending is written while the model's connection closes
        if self._inner:
            self._inner.cancel()

    def _through(self, inner: asyncio.Task[str]) -> None:
        self._inner = None  # else its traceback holds the run, and the run holds it
        self._wake()
        if not inner.cancelled():
            inner.exception()  # one that comes after the cut interests nobody

    def _wake(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def open(self, event: Start) -> None:
        """The first event; a quick model's first text goes into the log together with it."""
        self.feed.events.append(event)
        asyncio.get_running_loop().call_later(OPENING_SECONDS, self._on_event, self)

    def asked(self) -> None:
        """The model has been asked; its first token is awaited."""
        self._await(self._settings.first_token_timeout_seconds, "The model did not begin to answer in time.")

    def busy(self) -> None:
        """A tool works; it has deadlines of its own."""
        self._deadline = (self._run_deadline, "")

    def alive(self) -> None:
        """The model sent something that is not shown: it still works."""
        until = time.monotonic() + self._settings.token_timeout_seconds
        self._deadline = (max(self._deadline[0], until), self._deadline[1])

    def text(self, text: str) -> None:
        """A piece of the reply, as the model sent it."""
        for piece in self._cleaner.feed(text):
            self._put(Text(piece))
        self._chars += len(text)
        if self._chars > MOST_CHARS:
            self.cut(Failure("model_error", "The reply grew too long and was ended."))

    def reasoning(self, text: str) -> None:
        self._put(Reasoning(text))

    def tool(self, event: Tool) -> None:
        self._put(event)

    def used(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Adds the token counts of one model call; None where it did not tell."""
        exact = self._usage.exact and input_tokens is not None and output_tokens is not None
        asked = self._usage.input_tokens + (input_tokens or 0)
        self._usage = Usage(asked, self._usage.output_tokens + (output_tokens or 0), exact)

    def usage(self, asked_chars: int) -> Usage:
        """The tokens used; about four characters each where the model did not come to tell."""
        if self._usage.output_tokens and self._usage.exact and not self.is_cut:
            return self._usage
        counted = self._usage
        return Usage(
            max(counted.input_tokens, asked_chars // 4), max(counted.output_tokens, self._chars // 4), False
        )

    def finish_text(self) -> None:
        """Lets go of what the cleaner holds back; nothing when the run was cut."""
        for piece in self._cleaner.rest():
            self._put(Text(piece))

    def overdue(self, now: float) -> Failure | None:
        """Why the run has waited too long, if it has."""
        at, why = self._deadline
        if now < min(at, self._run_deadline):
            return None
        return Failure(
            "model_timeout", why if now >= at and why else "The reply took too long and was ended."
        )

    @property
    def _run_deadline(self) -> float:
        return self.started + self._settings.run_timeout_seconds

    def _await(self, seconds: float, why: str) -> None:
        self._deadline = (time.monotonic() + seconds, why)

    def _put(self, event: Event) -> None:
        if self.is_cut:
            return
        if self.first_token is None:
            self.first_token = time.monotonic()
        self._await(
            self._settings.token_timeout_seconds, "The model stopped sending in the middle of its answer."
        )
        self.feed.events.append(event)
        self._on_event(self)
