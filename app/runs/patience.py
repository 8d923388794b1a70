"""How long a run may still wait: for its model, and for its end. Knows neither model nor tool.

No clock runs while it stands in the line before a busy model, nor while a person thinks.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.events import Failure
from app.settings import Settings

_NO_BEGIN = "The model did not begin to answer in time."
_NO_MORE = "The model stopped sending in the middle of its answer."


class Patience:
    """The clocks of one run. `turn_from`: when its turn began, infinite while it waits for that."""

    def __init__(self, settings: Settings) -> None:
        self.turn_from = time.monotonic()
        self._settings = settings
        self._deadline = (self.turn_from + settings.run_timeout_seconds, "")
        self._paused = 0.0  # seconds for which persons have been asked
        self._asked_at = 0.0
        self._asking = 0

    @property
    def asks_a_person(self) -> bool:
        """Whether somebody must agree before it can go on."""
        return self._asking > 0

    def stand(self) -> None:
        """It waits in the line."""
        self.turn_from, self._deadline = math.inf, (math.inf, "")

    def begin(self) -> None:
        """It is its turn."""
        self.turn_from = time.monotonic()
        self.let_work()

    def let_work(self) -> None:
        """No model is waited for: a tool works, and has deadlines of its own."""
        self._deadline = (self._last, "")

    def await_model(self, *, begun: bool) -> None:
        """A model has been asked, or has just said something."""
        settings = self._settings
        seconds = settings.token_timeout_seconds if begun else settings.first_token_timeout_seconds
        self._deadline = (time.monotonic() + seconds, _NO_MORE if begun else _NO_BEGIN)

    @contextmanager
    def person(self) -> Iterator[None]:
        """A person is asked."""
        self._asked_at = self._asked_at if self._asking else time.monotonic()
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                self._paused += time.monotonic() - self._asked_at
            self.let_work()

    def overdue(self, now: float) -> Failure | None:
        """Why the run has waited too long, if it has."""
        at, why = self._deadline
        if self._asking or now < min(at, self._last):
            return None
        sentence = why if now >= at and why else "The reply took too long and was ended."
        return Failure("model_timeout", sentence)

    @property
    def _last(self) -> float:
        return self.turn_from + self._settings.run_timeout_seconds + self._paused
