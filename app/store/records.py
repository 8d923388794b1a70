"""What the chats in Redis hold, as it is read and written: messages, live runs, endings."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from app.events import Event, Outcome


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a chat. `facts` tells of a reply who made it, how long it took and what it used."""

    role: str
    content: str
    created_ms: int = 0
    run_id: str | None = None
    outcome: Outcome | None = None
    facts: dict[str, Any] | None = None

    def line(self) -> str:
        """The JSON kept in Redis, without the time, which Redis adds."""
        fields = {"role": self.role, "content": self.content, "run_id": self.run_id}
        extra = {"outcome": self.outcome, "facts": self.facts}
        return json.dumps(fields | {key: value for key, value in extra.items() if value is not None})

    @classmethod
    def read(cls, line: bytes) -> "Message":
        at, _, data = line.partition(b" ")
        return cls(created_ms=int(at), **json.loads(data))


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run as the chat knows it. `process` is one life of a backend, `attempt` one try to start the run."""

    run_id: str
    started_ms: int
    agent: str
    provider: str
    model: str
    backend: str
    process: str
    attempt: str


@dataclass(frozen=True, slots=True)
class Started:
    """The run has the chat; `history` ends with its own message (empty where nothing is remembered).

    `crowded` when there are more chats now than may be kept.
    """

    at_ms: int
    stop_at_birth: bool
    history: list[Message]
    crowded: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """This run id has been used in this chat before."""

    digest: str
    live: bool
    backend: str | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: its outcome and the backend that held it, when, and who wrote it down."""

    outcome: Outcome
    backend: str
    at_ms: int
    writer: str


@dataclass(frozen=True, slots=True)
class ChatState:
    """A chat as one read shows it. `fields` is the hash in Redis."""

    fields: dict[str, str]
    messages: list[Message]

    @property
    def live(self) -> LiveRun | None:
        return live_run(self.fields.get("run_id"), self.fields.get("run_at"), self.fields.get("run"))


@dataclass(frozen=True, slots=True)
class Asked:
    """The message of a run: its text and digest, and the run whose question it takes the place of."""

    text: str
    digest: str
    replaces: str | None


@dataclass(frozen=True, slots=True)
class LastWords:
    """What ends a run: the reply, and from number `first` on the events that its log may lack, the end last.

    With `expected` they are written only when the log ends with that number.
    """

    reply: Message
    events: list[Event]
    first: int
    expected: int | None = None


def ended(row: list[bytes]) -> tuple[str, Ending | None]:
    """`ended`, `moved`, `gap`, or `lost` with the ending another wrote (none: the chat is gone)."""
    return row[0].decode(), read_ending(row[1]) if len(row) > 1 else None


def read_ending(record: bytes | None) -> Ending | None:
    """The ending in an entry of the runs of a chat."""
    parts = record.decode().split(" ") if record else []
    if len(parts) < 5:
        return None
    return Ending(parts[1], parts[2], int(parts[3]), parts[4])  # type: ignore[arg-type]  # written by END


def live_run(run_id: str | None, at_ms: str | None, described: str | None) -> LiveRun | None:
    """The live run in the fields of a chat."""
    if not (run_id and at_ms and described):
        return None
    return LiveRun(run_id=run_id, started_ms=int(at_ms), **json.loads(described))


def title_of(message: str) -> str:
    """The first words of a message, up to 60 characters."""
    words = " ".join(message[:400].split())
    if len(words) <= 60:
        return words
    return words[:60].rsplit(" ", 1)[0] + "…"


def describe(run: LiveRun) -> str:
    """What a chat keeps of its live run beside the id and the time."""
    return json.dumps(
        {key: value for key, value in asdict(run).items() if key not in ("run_id", "started_ms")}
    )
