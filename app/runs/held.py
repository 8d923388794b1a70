"""The runs that this backend makes right now, and whether it takes more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import Draining, Overloaded
from app.runs.run import Run


class Runs:
    """The runs held by this process, by the name of their chat."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, Run] = {}
        self._starting = 0
        self.draining = False
        self.empty = asyncio.Event()
        self.empty.set()

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def get(self, name: str) -> Run | None:
        return self._held.get(name)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Reserves a place for a run about to start. Raises `Overloaded`, `Draining`."""
        if self.draining:
            raise Draining("This backend is shutting down. Send the message again; another one will answer.")
        if len(self._held) + self._starting >= self._most:
            raise Overloaded("Too many replies are being made right now. Try again in a few seconds.")
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def add(self, run: Run) -> None:
        self._held[run.chat.name] = run
        self.empty.clear()

    def remove(self, run: Run) -> None:
        if self._held.get(run.chat.name) is run:
            del self._held[run.chat.name]
        if not self._held:
            self.empty.set()
