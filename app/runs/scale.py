"""What the replies being made here weigh together, so that no number of long ones fills the memory."""

import sys

from app.events import Event, Reasoning, Text

MOST_HELD = 64 * 1024 * 1024  # bytes; with the shares beyond it twice that: tests/test_hard_sums.py
EVENT_WEIGHT = 64  # the event itself and its place in a list
TOOL_WEIGHT = 16 * 1024  # input and output, each cut to 2,000 characters


class Scale:
    """One per process. Beyond the most, a reply heavier than its share of it is ended; light ones go on."""

    def __init__(self, places: int) -> None:
        self._share = MOST_HELD // places
        self.held = 0

    def bears(self, own: int, more: int) -> bool:
        """Puts `more` on for a reply that weighs `own` with it; whether that reply may go on."""
        self.held += more
        return self.held <= MOST_HELD or own <= self._share

    def take_off(self, own: int) -> None:
        """The reply has ended."""
        self.held -= own


def weight(event: Event) -> int:
    """About what an event takes in memory, in bytes."""
    if isinstance(event, Text | Reasoning):
        return sys.getsizeof(event.text) + EVENT_WEIGHT
    return TOOL_WEIGHT
