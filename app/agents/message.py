"""One message of a model, put together from its chunks in whatever order and shape they come.

Strands gets it once it is complete, and only what is whole: a block that was begun is ended, a call
has a name and an object for its arguments, a message that stops for tools has some. Knows neither
run nor provider.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

from app.agents.calls import MOST_CALLS, Call, WholeCall
from app.events import encodable

Chunk = dict[str, Any]

MOST_TOKENS = 10**9  # of one answer


@dataclass(slots=True)
class _Thought:
    """A block of reasoning, with what the provider wants back with it."""

    text: list[str] = field(default_factory=list)
    signature: str = ""
    redacted: bytes = b""

    def chunks(self) -> Iterator[Chunk]:
        if self.text:
            yield _delta({"reasoningContent": {"text": "".join(self.text)}})
        if self.signature:
            yield _delta({"reasoningContent": {"signature": self.signature}})
        if self.redacted:
            yield _delta({"reasoningContent": {"redactedContent": self.redacted}})


class ModelMessage:
    """What has come so far. `reason` is the model's stop reason, None until it stops.

    `known`: ids of calls before, which this one may not have again.
    """

    def __init__(self, known: Container[str] = ()) -> None:
        self._known = known
        self.reason: str | None = None
        self.answered = False  # the server has begun to answer
        self.begun = False  # something of it has been shown
        self.usage: dict[str, Any] = {}
        self._blocks: list[list[str] | _Thought | Call] = []
        self._open: list[str] | _Thought | Call | None = None
        self._begun_calls = 0
        self._calls: list[WholeCall] | None = None

    def take(self, chunk: Chunk) -> tuple[str, str]:
        """The text and the reasoning in this chunk, both mostly empty."""
        self.answered = True
        if self.reason is None and (delta := _part(_part(chunk, "contentBlockDelta"), "delta")):
            return self._take_delta(delta)
        if self.reason is None and "contentBlockStart" in chunk:
            self._open = None
            if started := _part(_part(chunk["contentBlockStart"], "start"), "toolUse"):
                self._call().take(started)
        elif "contentBlockStop" in chunk:
            self._open = None
        elif self.reason is None and "messageStop" in chunk:
            self.reason = str(_part(chunk, "messageStop").get("stopReason") or "end_turn")[:64]
        elif "metadata" in chunk:
            self.usage = _part(_part(chunk, "metadata"), "usage")
        return "", ""

    def _take_delta(self, delta: Chunk) -> tuple[str, str]:
        text = delta.get("text")
        if isinstance(text, str) and text:
            self._text_block().append(text)
            self.begun = True
            return text, ""
        if thought := _part(delta, "reasoningContent"):
            return "", self._take_thought(thought)
        if "toolUse" in delta:
            self._call().take(delta["toolUse"])
        return "", ""

    def _take_thought(self, thought: Chunk) -> str:
        block, text = self._thought(), thought.get("text")
        block.signature += thought.get("signature") or ""
        block.redacted += thought.get("redactedContent") or b""
        if not (isinstance(text, str) and text):
            return ""
        block.text.append(text)
        self.begun = True
        return text

    # blocks: one that was begun goes on, any other begins where it is needed

    def _text_block(self) -> list[str]:
        if not isinstance(self._open, list):
            self._open = []
            self._blocks.append(self._open)
        return self._open

    def _thought(self) -> _Thought:
        if not isinstance(self._open, _Thought):
            self._open = _Thought()
            self._blocks.append(self._open)
        return self._open

    def _call(self) -> Call:
        if not isinstance(self._open, Call):
            self._open = Call()
            self._begun_calls += 1
            if self._begun_calls <= MOST_CALLS:
                self._blocks.append(self._open)
        return self._open

    # what goes on to Strands

    @property
    def has_thought(self) -> bool:
        return any(isinstance(block, _Thought) for block in self._blocks)

    def calls(self) -> list[WholeCall]:
        """The calls to carry out: none when the message ends for another reason."""
        if self._calls is None:
            self._calls, own = [], set[str]()
            if self.reason in ("tool_use", "end_turn"):
                for block in self._blocks:
                    if isinstance(block, Call) and (call := block.whole(self._known, own)):
                        own.add(call.id)
                        self._calls.append(call)
        return self._calls

    @property
    def stop_reason(self) -> str:
        """The reason that fits: a message that stops for tools and has none has simply ended."""
        if self.calls():
            return "tool_use"
        return "end_turn" if self.reason in (None, "tool_use") else str(self.reason)

    def counted(self, *names: str) -> int | None:
        """The sum of these counts of the usage; None where the first was not told."""
        counts = [_count(self.usage.get(name)) for name in names]
        return None if counts[0] is None else sum(count or 0 for count in counts)

    def chunks(self) -> Iterator[Chunk]:
        """The message as Strands takes it."""
        waiting = iter(self.calls())
        names = {call.id for call in self.calls()}
        yield {"messageStart": {"role": "assistant"}}
        for block in self._blocks:
            if isinstance(block, list):
                yield from _block([_delta({"text": encodable("".join(block))})])
            elif isinstance(block, _Thought):
                yield from _block(block.chunks())
            elif block.id in names and (call := next(waiting, None)):
                yield from _block([_delta({"toolUse": {"input": call.written}})], call)
        yield {"messageStop": {"stopReason": self.stop_reason}}
        asked, made = self.counted("inputTokens"), self.counted("outputTokens")
        if asked is not None and made is not None:
            usage = {"inputTokens": asked, "outputTokens": made, "totalTokens": asked + made}
            yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 0}}}


def _block(deltas: Iterator[Chunk] | list[Chunk], call: WholeCall | None = None) -> Iterator[Chunk]:
    start = {"toolUse": {"name": call.name, "toolUseId": call.id}} if call else {}
    yield {"contentBlockStart": {"start": start}}
    yield from deltas
    yield {"contentBlockStop": {}}


def _delta(delta: Chunk) -> Chunk:
    return {"contentBlockDelta": {"delta": delta}}


def _part(chunk: Any, name: str) -> Chunk:
    """An object inside an object; an empty one where there is none, or something else."""
    part = chunk.get(name) if isinstance(chunk, dict) else None
    return part if isinstance(part, dict) else {}


def _count(value: Any) -> int | None:
    """A count of tokens, however it is written; one that cannot be is none."""
    if isinstance(value, bool):
        return None
    try:
        count = int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0, count) if count < MOST_TOKENS else None
