"""The runs that this backend makes right now, and whether it takes more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import Draining, Overloaded
from app.runs.logwriter import LogWriter
from app.runs.run import Run
from app.settings import Settings
from app.store.keys import Chat
from app.store.records import LiveRun


class Runs:
    """Makes runs, and holds them by the name of their chat until they have ended."""

    def __init__(self, settings: Settings, writer: LogWriter) -> None:
        self.settings = settings
        self._writer = writer
        self._held: dict[str, Run] = {}
        self._starting = 0
        self.draining = False
        self.some = asyncio.Event()
        self.empty = asyncio.Event()
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
        """Reserves a place for a run about to start. Raises `Overloaded`, `Draining`."""
        if self.draining:
            raise Draining("This backend is shutting down. Send the message again; another one will answer.")
        if len(self._held) + self._starting >= self.settings.max_runs:
            raise Overloaded("Too many replies are being made right now. Try again in a few seconds.")
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def make(self, chat: Chat, live: LiveRun) -> Run:
        """A run that has the chat; it is held once it is added."""
        return Run(chat, live, self.settings, self._writer.mark)

    def add(self, run: Run) -> None:
        """Holds a run."""
        self._held[run.chat.name] = run
        self.some.set()
        self.empty.clear()

    def remove(self, run: Run) -> None:
        """Lets go of a run that has ended."""
        if self._held.get(run.chat.name) is run:
            del self._held[run.chat.name]
        if not self._held:
            self.some.clear()
            self.empty.set()
