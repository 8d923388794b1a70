"""The runs that this backend makes right now, and whether it takes more."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from app.errors import Overloaded, TurnedAway
from app.runs.logwriter import LogWriter
from app.runs.metrics import Metrics
from app.runs.run import Run
from app.runs.scale import Scale
from app.settings import Settings
from app.store.keys import Chat
from app.store.records import LiveRun

# who asks: the name of a key, or an address where there are none; set by whoever takes the request
asker: ContextVar[str] = ContextVar("asker", default="")
KEPT_FOR_OTHERS = 8  # one asker leaves an eighth of the places to the others
UNREAD_SHARE, UNREAD_LEAST = 2, 8  # and has at most half of them for replies that nobody reads


class Runs:
    """Makes runs, and holds them by the name of their chat until they have ended."""

    def __init__(self, settings: Settings, writer: LogWriter, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self._writer = writer
        self._held: dict[str, Run] = {}
        self._scale = Scale(settings.max_runs)
        self._taken: Counter[str] = Counter()  # by asker, with those about to start
        self.draining = False
        self.some = asyncio.Event()
        self.empty = asyncio.Event()  # nothing is made here, nor about to be
        self.empty.set()

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def get(self, name: str) -> Run | None:
        """The run in the chat of this name."""
        return self._held.get(name)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Reserves a place for a run about to start. Raises `Overloaded`, `TurnedAway`."""
        if self.draining:
            raise TurnedAway(
                "This backend is shutting down. Send the message again; another one will answer."
            )
        who, most = asker.get(), self.settings.max_runs
        if self._taken.total() >= most or self._taken[who] >= most - most // KEPT_FOR_OTHERS:
            raise Overloaded("Too many replies are being made right now. Try again in a few seconds.")
        if self._unread(who) >= max(UNREAD_LEAST, most // UNREAD_SHARE):
            raise Overloaded("Too many replies are being made for you that nobody reads. Stop some of them.")
        self._taken[who] += 1
        self.empty.clear()
        try:
            yield
        finally:
            self._give_back(who)

    def _unread(self, who: str) -> int:
        return sum(run.unread_since is not None for run in self._held.values() if run.asker == who)

    def _give_back(self, who: str) -> None:
        self._taken[who] -= 1
        if self._taken[who] <= 0:
            del self._taken[who]
        if not self._taken:
            self.empty.set()

    def make(self, chat: Chat, live: LiveRun) -> Run:
        """A run that has the chat; it is held once it is added."""
        run = Run(chat, live, self.settings, self._writer.mark, asker.get(), scale=self._scale)
        run.on_closed = self.metrics.closed.observe
        return run

    def add(self, run: Run) -> None:
        """Holds a run."""
        self._held[run.chat.name] = run
        self._taken[run.asker] += 1
        self.some.set()

    def remove(self, run: Run) -> None:
        """Lets go of a run that has ended."""
        if self._held.get(run.chat.name) is run:
            del self._held[run.chat.name]
            self._give_back(run.asker)
        if not self._held:
            self.some.clear()
