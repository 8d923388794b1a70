"""What the chats in Redis hold, as it is read and written: messages, live runs, records of runs."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from app.events import Event, Outcome, encodable
from app.store.filed import readable_files
from app.store.steps import folded, unfolded
from app.store.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a chat. `facts` tells of a reply who made it, how long it took and what it used.

    `parts` are its steps where there is more than text (see `chat/parts`), `files` what a question
    names (see `files`). `mark` tells a question
    from the others in its chat: its run id, or what stands for it where no run asked it.
    """

    role: str
    content: str
    created_ms: int = 0
    run_id: str | None = None
    outcome: Outcome | None = None
    facts: dict[str, Any] | None = None
    parts: list[dict[str, Any]] | None = None
    mark: str = ""
    files: list[dict[str, Any]] | None = None

    def line(self) -> str:
        """As it stands in Redis."""
        return f"{self.created_ms} {self.mark or self.run_id or '-'} {self.body()}"

    def body(self) -> str:
        """The JSON kept in Redis, without the time and the run id, which the scripts put before it."""
        parts = self.parts and folded(self.parts, self.content)
        extra = {"outcome": self.outcome, "facts": self.facts, "parts": parts, "files": self.files}
        told = {key: value for key, value in extra.items() if value or value == {}}
        return encodable(json.dumps({"role": self.role, "content": self.content} | told, ensure_ascii=False))

    @classmethod
    def read(cls, line: bytes) -> "Message":
        """Raises `ValueError`, `TypeError` for a line that is none."""
        at, run_id, data = line.split(b" ", 2)
        mark = run_id.decode()
        made = None if mark == "-" or mark.startswith("~") else mark  # brought by a client, or by a file
        fields = json.loads(data)
        if stop := fields.pop("stop", None):
            fields["facts"] = (fields.get("facts") or {}) | stop
        if "files" in fields:
            fields["files"] = readable_files(fields["files"])
        if parts := fields.get("parts"):
            fields["parts"] = unfolded(parts, fields["content"])
        return cls(created_ms=int(at), run_id=made, mark=mark, **fields)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run as the chat knows it. `process` is one life of a backend, `attempt` one try to start
    the run.

    Without `keep` neither its question nor its reply is stored. `continues`: what it says joins the
    last message, the reply of an earlier run.
    """

    run_id: str
    started_ms: int
    agent: str
    provider: str
    model: str
    backend: str
    process: str
    attempt: str
    keep: bool = True
    continues: bool = False

    @classmethod
    def nobody(cls) -> "LiveRun":
        """Stands for one that cannot be read."""
        return cls("", 0, "", "", "", "", "", "")

    def described(self) -> str:
        """What START is handed; it puts the time in."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str | bytes | None) -> "LiveRun | None":
        """None where nothing runs, or what stands there cannot be read; what another version adds
        is left out.
        """
        try:
            return cls(**(_UNTOLD | _known(cls, json.loads(text)))) if text else None
        except (ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a chat keeps of each run: the digest of its message, and how it has ended.

    `backend` held the run, `writer` is the process that wrote the ending down; of a stopped one
    `stop_ms` is the time from the stop being recorded by `answered_by` to the end, and `stopped_by`
    names this stop. One that continued a reply names its first run in `of`; `open`: the reply can be
    continued. Written by the scripts START and END.
    """

    digest: str = ""
    outcome: Outcome | None = None
    backend: str = ""
    ended_ms: int = 0
    writer: str = ""
    stop_ms: float | None = None
    answered_by: str = ""
    stopped_by: str = ""
    of: str | None = None
    open: bool = False

    @classmethod
    def read(cls, text: bytes | None) -> "RunRecord | None":
        """None where there is none, or what stands there cannot be read."""
        try:
            return cls(**_known(cls, json.loads(text or b"null")))
        except (ValueError, TypeError, AttributeError):
            return None


def _known(record: type, told: dict[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(record)}
    return {name: value for name, value in told.items() if name in names}


_UNTOLD: dict[str, Any] = {"started_ms": 0, "agent": "", "provider": "", "model": "", "backend": ""}
GONE = RunRecord(outcome="stopped")  # the run has ended and its chat was deleted at once


@dataclass(frozen=True, slots=True)
class Started:
    """The run has the chat; `history` ends with its own message, or with the reply that it
    continues (empty where nothing is remembered).

    `crowded` when there are more chats now than may be kept; `instructions` and `temperature` are
    the chat's; `last`: the run before, if it is known.
    """

    at_ms: int
    stop_at_birth: bool
    history: list[Message]
    crowded: bool = False
    instructions: str = ""
    temperature: float | None = None
    last: RunRecord | None = None


@dataclass(frozen=True, slots=True)
class OtherAgent:
    """Nothing was started: another agent has been chosen for this chat."""

    name: str


@dataclass(frozen=True, slots=True)
class Known:
    """This run id has been used in this chat before."""

    digest: str
    live: bool
    backend: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """A question and all behind it that stood in the chat before."""

    number: int
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class ChatState:
    """A chat as one read shows it. `fields` is the hash in Redis; `versions` by the mark of the
    question that stands in their place; `unsent`: what the last stop handed back.
    """

    fields: dict[str, str]
    messages: list[Message] = field(default_factory=list)
    queued: list[Waiting] = field(default_factory=list)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    unsent: list[Waiting] = field(default_factory=list)

    def newest_first(self) -> Iterator[Message]:
        """What stands in it, then what only its versions hold."""
        older = [version.messages for versions in self.versions.values() for version in versions]
        for messages in (self.messages, *reversed(older)):
            yield from reversed(messages)

    @property
    def live(self) -> LiveRun | None:
        """What runs in it."""
        return LiveRun.read(self.fields.get("run")) if "run_id" in self.fields else None


@dataclass(frozen=True, slots=True)
class LastWords:
    """What ends a run: the reply, and from number `first` on the events that its log may lack, the
    end last.

    With `expected` they are written only when the log ends with that number. `bell` when somebody
    may wait. `seen`: the reply goes as far as this event, since whoever stopped it had seen no
    more; `open`: it can be continued.
    """

    reply: Message
    events: list[Event]
    first: int
    expected: int | None = None
    bell: bool = True
    seen: int | None = None
    open: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What became of an ending: `ended`; `moved` and `gap` (the log is not as expected); `seen`,
    when the reply must go as far as that event; `lost` with the record another wrote (none: the
    chat is gone). `waits`: a message waits in the chat.
    """

    answer: str
    record: RunRecord | None = None
    seen: int | None = None
    waits: bool = False
