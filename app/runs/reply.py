"""The reply being made: the sink into which an agent pours what it says. Knows nothing of tasks and
of Redis.

It keeps the budget that bounds its flood; the clocks that bound a model's silence are in `patience`.
"""

import math
import time
from collections.abc import Callable, Iterator

from app.clock import PHASE_SECONDS
from app.errors import ModelFailure
from app.events import Event, Failure, Model, Phase, Queue, Reasoning, Text, Tool, Usage, encode
from app.runs.clean import Cleaner
from app.runs.feed import Feed
from app.runs.joint import Joint
from app.runs.patience import Patience
from app.runs.scale import Scale, weight
from app.settings import Settings

MOST_CHARS = 1_000_000  # of text, thinking and tools: a reply that never ends is ended here
MOST_EVENTS = 200_000  # what its log can be read back with
CROWDED = Failure(
    "overloaded", "Too many long replies are being made right now, so this one was ended. Try again later."
)
MOST_EVENT = 8000  # bytes of one event as JSON: some readers have a limit for a line


class Reply:
    """What one run says. `on_event` is called for each event, `on_flood` when it says more than it may."""

    def __init__(
        self,
        feed: Feed,
        settings: Settings,
        on_event: Callable[[], None],
        on_flood: Callable[[Failure], None],
        *,
        scale: Scale | None = None,
    ) -> None:
        self.feed = feed
        self.started = time.monotonic()
        self.first_token: float | None = None
        self.closed = False
        self.times: dict[int, float] = {}  # when events came, by index: of tools, and where the kind changes
        self.sent_turns = self.sent_chars = self.left_out = 0  # of the chat, to the model
        self.prompt_tokens: int | None = None  # as the model counted its first prompt
        self.patience = Patience(settings)
        self._on_event = on_event
        self._on_flood = on_flood
        self._stood = (0, 0)
        self.waited: float | None = None  # in front of a busy model, in seconds
        self._cleaner = Cleaner()
        self._joint = Joint("")
        self._usage = Usage(0, 0, True)
        self._text_chars = 0
        self._chars = 0
        self._scale = scale or Scale(1)
        self._weight = 0
        self._begun = False  # whether the model that is asked now has said something
        self._told: Model | None = None
        self._tell_at = 0.0
        self._running: dict[str, tuple[str, float]] = {}  # tools, by the id of their call
        self._used: list[tuple[str, str, float]] = []

    # the line before the model

    def queued(self, position: int, ahead: int, waited_ms: int) -> None:
        """It waits for its turn; told when its place changes. No clock runs meanwhile."""
        if not self.patience.asks_a_person:
            self.patience.stand()
        if (position, ahead) != self._stood and not self.closed:
            self._stood = (position, ahead)
            self.feed.events.append(Queue(position, ahead, waited_ms))
            self._on_event()

    def called(self) -> None:
        """It is its turn: its clocks begin, or go on where a person was asked."""
        if self.patience.asks_a_person:
            return
        self.patience.begin()
        self.waited = self.patience.turn_from - self.started

    # what goes to the model

    def sends(self, turns: int, chars: int, left_out: int) -> None:
        """So much of the chat goes to the model; what it used before it said anything does not count."""
        self.sent_turns, self.sent_chars, self.left_out = turns, chars, left_out
        if self.first_token is None:
            self._usage, self.prompt_tokens = Usage(0, 0, True), None

    def is_too_long(self, failure: ModelFailure) -> bool:
        """Whether the model refused what was sent as too long, before it said anything."""
        return failure.code == "context_overflow" and self.first_token is None and not self.closed

    # what an agent calls

    @property
    def run_id(self) -> str:
        """The id of the run, for the log."""
        return self.feed.run_id

    @property
    def chat_id(self) -> str:
        """The id of its chat, for traces."""
        return self.feed.chat_id

    def asked(self) -> None:
        """The model has been asked; its first token is awaited."""
        self._begun = False
        self.patience.await_model(begun=False)

    def busy(self) -> None:
        """A tool works; it has deadlines of its own."""
        self.patience.let_work()

    def alive(
        self, phase: Phase | None = None, processed: int | None = None, total: int | None = None
    ) -> None:
        """The model works though it says nothing that is shown: its clock begins anew."""
        self.patience.await_model(begun=self._begun)
        if phase is None or self._begun or self.closed:
            return
        told, now = Model(phase, processed, total), time.monotonic()
        if told != self._told and (now >= self._tell_at or processed == total):
            self._told, self._tell_at = told, now + PHASE_SECONDS
            self.feed.events.append(told)
            self._on_event()

    def text(self, text: str) -> None:
        """A piece of the reply, as the model sent it."""
        self._text_chars += len(text)
        for piece in self._cleaner.feed(text):
            self._say(self._joint.join(piece))

    def reasoning(self, text: str) -> None:
        """A piece of what the model thinks."""
        self._put(Reasoning(text), len(text))

    def tool(self, event: Tool) -> None:
        """A tool begins or has ended."""
        self._time(event)
        self._joint.apart()
        self._put(event, len(str(event.input or "")) + len(str(event.output or "")) + 100)

    def aside(self, chars: int) -> None:
        """So many characters were said by an agent that works for this one; they are not shown."""
        self._text_chars += chars
        self._charge(chars)

    def used(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Adds the token counts of one model call; None where it did not tell."""
        exact = self._usage.exact and input_tokens is not None and output_tokens is not None
        if self.prompt_tokens is None:
            self.prompt_tokens = input_tokens
        asked = self._usage.input_tokens + (input_tokens or 0)
        self._usage = Usage(asked, self._usage.output_tokens + (output_tokens or 0), exact)

    # what the run asks

    @property
    def waits(self) -> bool:
        """Whether it waits for its turn."""
        return self.patience.turn_from == math.inf

    @property
    def first_seconds(self) -> float | None:
        """From its turn to its first token; None when none came."""
        return None if self.first_token is None else max(0.0, self.first_token - self.patience.turn_from)

    def tools_used(self) -> list[tuple[str, str, float]]:
        """Name, status and seconds of each tool call; those that did not end were stopped."""
        now = time.monotonic()
        return self._used + [(name, "stopped", now - began) for name, began in self._running.values()]

    def goes_on(self, before: str) -> None:
        """What is said joins this text."""
        self._joint = Joint(before)

    def finish_text(self) -> None:
        """Lets go of what the cleaner holds back; nothing when the run was cut."""
        for piece in self._cleaner.rest():
            self._say(self._joint.join(piece))
        self._say(self._joint.last())

    def usage(self) -> Usage:
        """The tokens used; about four characters each where the model did not come to tell."""
        counted = self._usage
        if counted.output_tokens and counted.exact and not self.closed:
            return counted
        asked, said = self.sent_chars // 4, self._text_chars // 4
        return Usage(max(counted.input_tokens, asked), max(counted.output_tokens, said), False)

    def detach(self) -> None:
        """Forgets whom to tell."""
        self._scale.take_off(self._weight)
        self._weight = 0
        self._on_event = lambda: None
        self._on_flood = lambda _: None

    def _time(self, event: Tool) -> None:
        now = time.monotonic()
        if event.status == "running":
            self._running[event.tool_use_id] = (event.name, now)
        elif begun := self._running.pop(event.tool_use_id, None):
            self._used.append((begun[0], event.status, now - begun[1]))

    def _say(self, text: str) -> None:
        if text:
            self._put(Text(text), len(text))

    def _put(self, event: Event, chars: int) -> None:
        if self.closed:
            return
        if self.first_token is None:
            self.first_token = time.monotonic()
        self._begun = True
        self.patience.await_model(begun=True)
        events = self.feed.events
        if isinstance(event, Tool) or type(events[-1] if events else None) is not type(event):
            self.times[len(events)] = time.monotonic()
        events.extend(_parts(event) if chars * 12 > MOST_EVENT else (event,))
        self._on_event()
        more = weight(event)
        self._weight += more
        if not self._scale.bears(self._weight, more):
            self._on_flood(CROWDED)
        self._charge(chars)

    def _charge(self, chars: int) -> None:
        self._chars += chars
        if self._chars > MOST_CHARS or len(self.feed.events) > MOST_EVENTS:
            self._on_flood(Failure("model_error", "The reply grew too long and was ended."))


def _parts(event: Event) -> Iterator[Event]:
    """The event in pieces that each fit a line, split between characters."""
    if not isinstance(event, Text | Reasoning) or len(encode(event)) <= MOST_EVENT:
        yield event
        return
    half = len(event.text) // 2
    yield from _parts(type(event)(event.text[:half]))
    yield from _parts(type(event)(event.text[half:]))
