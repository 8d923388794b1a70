"""The file of all chats: what each of its lines may hold, and what became of them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from app.api.bodies.fields import AgentName, ChatId, RunId
from app.api.packed import Awaited, NamedFile, Packed
from app.chat.parts import fitted
from app.events import LAST_MS
from app.store.archive import Told
from app.store.filed import Filed
from app.store.records import Message


def _sound(text: str) -> str:
    text.encode()  # a lone surrogate cannot be kept
    return text


FURTHER = ConfigDict(extra="allow")  # a step may tell more than every step does


def _plain(value: Any) -> Any:
    json.dumps(value, allow_nan=False)  # what no JSON has cannot be told again
    return value


Words = Annotated[str, AfterValidator(_sound)]


class TextStep(TypedDict):
    """Text of a reply between its other steps."""

    __pydantic_config__ = FURTHER  # type: ignore[misc]  # how pydantic configures a TypedDict
    type: Literal["text"]
    text: Words


class ReasoningStep(TypedDict):
    """What the model thought."""

    __pydantic_config__ = FURTHER  # type: ignore[misc]
    type: Literal["reasoning"]
    text: Words
    seconds: float | None


class ToolStep(TypedDict):
    """A tool call."""

    __pydantic_config__ = FURTHER  # type: ignore[misc]
    type: Literal["tool"]
    tool_use_id: Words
    name: Words
    status: Literal["done", "failed", "stopped"]
    input: Any
    output: Any
    seconds: float | None


Step = Annotated[TextStep | ReasoningStep | ToolStep, Field(discriminator="type")]


class MessageIn(BaseModel):
    """A message as the file has it; `versions`: what stood in its place, and behind it, before."""

    role: Literal["user", "assistant"]
    content: Annotated[Words, Field(max_length=1_000_000)]
    created_at: AwareDatetime
    run_id: RunId | None = None
    outcome: Literal["done", "stopped", "failed"] | None = None
    facts: Annotated[dict[str, Any], AfterValidator(_plain)] | None = None
    parts: Annotated[list[Step], AfterValidator(_plain)] | None = None
    files: Annotated[list[NamedFile], Field(max_length=100)] | None = None
    versions: list["VersionIn"] = []

    def as_kept(self, known: Mapping[str, Filed]) -> Told:
        """As it is kept; of its files those whose bytes are known."""
        files = [one.entry(known) for one in self.files or () if one.file_id in known] or None
        parts = fitted([dict(part) for part in self.parts]) if self.parts else None
        at_ms = milliseconds(self.created_at)
        message = Message(
            self.role, self.content, at_ms, self.run_id, self.outcome, self.facts, parts, files=files
        )
        versions = [(one.version, [m.as_kept(known) for m in one.messages]) for one in self.versions]
        return Told(message, versions)


class VersionIn(BaseModel):
    """A version as the file has it."""

    version: Annotated[int, Field(ge=1, le=10**9)]
    messages: list[MessageIn] = Field(min_length=1, max_length=10_000)


class ChatIn(BaseModel):
    """A chat as a line of the file has it.

    `chosen_agent` answers where a message names none; `named`: its title was given by a person.
    """

    chat_id: ChatId
    title: Annotated[Words, Field(max_length=200)] | None = None
    named: bool = False
    agent: AgentName | None = None
    chosen_agent: AgentName | None = None
    instructions: Annotated[Words, Field(max_length=4000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    created_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    messages: list[MessageIn] = Field(min_length=1, max_length=10_000)
    files: list[Packed | Awaited] = Field([], max_length=100)

    def fields(self) -> dict[str, str]:
        """What the hash of the chat says; empty for what it does not."""
        created = self.created_at or self.messages[0].created_at
        return {
            "title": " ".join((self.title or "").split()),
            "named": "1" if self.named else "",
            "agent": self.agent or "general",
            "chosen": self.chosen_agent or "",
            "instructions": self.instructions or "",
            "temperature": "" if self.temperature is None else str(self.temperature),
            "created_at": str(milliseconds(created)),
        }


class PutIn(BaseModel):
    """A chat that is there now; `chat_id` differs from the one in the file where that was taken."""

    line: int
    chat_id: str


class BadLine(BaseModel):
    """A line that was passed over."""

    line: int
    detail: str


class Imported(BaseModel):
    """What has become of each line of the file."""

    imported: int
    failed: int
    chats: list[PutIn]
    errors: list[BadLine]


def milliseconds(at: datetime) -> int:
    """Since 1970 and not before, and not after the year 9999."""
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return min(LAST_MS, max(0, since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000))
