"""What travels down the stream of a run, and how it is written as one line of JSON.

Knows neither HTTP nor Redis.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Any, Literal

Outcome = Literal["done", "stopped", "failed"]
Phase = Literal["loading", "reading"]
LAST_MS = 253402300799000


@dataclass(frozen=True, slots=True)
class Start:
    """The first event of every run. `created_at` is ISO 8601 in UTC."""

    run_id: str
    chat_id: str
    agent: str
    provider: str
    model: str
    backend: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Text:
    """Text of the reply, as it came, with line feeds only."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model that thinks aloud thinks; not part of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool call: `running` with its input, then `done` or `failed` with its output, or `stopped`.

    `asked` comes before where a person must agree, with the input; `parent` is the call of the agent
    that works for another one, and makes this call.
    """

    tool_use_id: str
    name: str
    status: Literal["asked", "running", "done", "failed", "stopped"]
    input: Any = None
    output: Any = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """What the model does before its first token, where it tells: how much of the prompt it has read."""

    phase: Phase
    processed: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """Where a run stands before a busy model: 1 is next; `ahead` counts who waits or works before it."""

    position: int
    ahead: int
    waited_ms: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a run over all its model calls; `exact` is false where we had to estimate."""

    input_tokens: int
    output_tokens: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed: a code of the contract, one sentence, and whether asking again can help.

    `retry_after`: in so many seconds, where the provider said so.
    """

    code: str
    message: str
    retry: bool = True
    retry_after: int | None = None

    def told(self) -> dict[str, Any]:
        """As readers and the memory get it."""
        fields = {"code": self.code, "message": self.message, "retry": self.retry}
        return fields if self.retry_after is None else {**fields, "retry_after": self.retry_after}


@dataclass(frozen=True, slots=True)
class End:
    """The one ending of a run. Times in milliseconds since its start."""

    outcome: Outcome
    stop_reason: str
    usage: Usage
    duration_ms: int
    first_token_ms: int | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event of another version of this service, as it stands in the log: passed on as it is."""

    kind: str
    data: str


LOST = Failure(
    "backend_lost",
    "The backend that made this reply was lost. What it had written is kept; ask again to go on.",
)

OPEN = ("asked", "running")  # a tool call that is not over

Event = Start | Text | Reasoning | Tool | Model | Queue | End | Unknown

_NAMES: dict[type, str] = {
    Start: "start",
    Text: "text",
    Reasoning: "reasoning",
    Tool: "tool",
    Model: "model",
    Queue: "queue",
    End: "end",
}


def name(event: Event) -> str:
    """The event's name on the wire."""
    return event.kind if type(event) is Unknown else _NAMES[type(event)]


def encode(event: Event) -> str:
    """One line of ASCII JSON; text, which is nearly every event, without a detour."""
    if type(event) is Text:
        return f'{{"text": {encode_basestring_ascii(event.text)}}}'
    if type(event) is Unknown:
        return event.data
    fields = asdict(event)
    if isinstance(event, End | Tool | Model):
        optional = ("error", "input", "output", "parent", "processed", "total")
        fields = {key: value for key, value in fields.items() if value is not None or key not in optional}
    if isinstance(event, End) and event.error:
        fields["error"] = event.error.told()
    return json.dumps(fields)


def decode(event_name: str, data: str) -> Event:
    """The event that `encode` wrote. Raises `ValueError`, `TypeError` or `KeyError` for one it did not."""
    fields = json.loads(data)
    match event_name:
        case "text":
            return Text(fields["text"])
        case "reasoning":
            return Reasoning(fields["text"])
        case "tool":
            return Tool(**fields)
        case "model":
            return Model(**fields)
        case "queue":
            return Queue(**fields)
        case "start":
            return Start(**fields)
        case "end":
            return _end(fields)
    raise ValueError(event_name)


def _end(fields: dict[str, Any]) -> End:
    error = fields.pop("error", None)
    usage = Usage(**fields.pop("usage"))
    return End(**fields, usage=usage, error=Failure(**error) if error else None)


def unfinished(events: Iterable[Event], status: Literal["failed", "stopped"]) -> list[Tool]:
    """What ends the tools that still run, or wait for a person, where these events end."""
    begun: dict[str, Tool] = {}
    for event in events:
        if type(event) is Tool:
            if event.status in OPEN:
                begun[event.tool_use_id] = event
            else:
                begun.pop(event.tool_use_id, None)
    return [Tool(used, one.name, status, parent=one.parent) for used, one in begun.items()]


def reply_text(events: Iterable[Event]) -> str:
    """The text of the reply that these events make up."""
    return "".join(event.text for event in events if type(event) is Text)


def encodable(text: str) -> str:
    """The text with the halves of surrogate pairs joined, and lone ones replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def iso(milliseconds: int) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`, of milliseconds since 1970; at most the year 9999 has."""
    return (
        datetime.fromtimestamp(min(milliseconds, LAST_MS) / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
