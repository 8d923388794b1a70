"""Every body that comes in and goes out, as models; what the API description says of them stands here."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from app.events import iso
from app.store.records import ChatState, LiveRun, Message, Version
from app.store.waiting import Waiting

CHAT_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
RUN_ID = r"^[A-Za-z0-9_-]{8,64}$"


def _not_bulk(chat_id: str) -> str:
    if chat_id == "bulk":
        raise ValueError("this id is reserved")
    return chat_id


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be only white space")
    return text


ChatId = Annotated[str, Field(pattern=CHAT_ID), AfterValidator(_not_bulk)]
RunId = Annotated[str, Field(pattern=RUN_ID)]
MessageText = Annotated[str, Field(min_length=1), AfterValidator(_not_blank)]
AgentName = Annotated[str, Field(min_length=1, max_length=64)]
Status = Literal["new", "active", "running"]
Result = Literal["stopping", "stopped", "already_finished", "owner_lost", "pending"]


# chats


class Ask(BaseModel):
    """A message and how it is to be answered; or, with `continues`, the wish that the last reply goes on."""

    continues: RunId | None = Field(
        None, description="Instead of a message: the run of the last reply, which was cut and is to go on"
    )
    message: MessageText | None = Field(
        None,
        description="1 to MESSAGE_MAX_CHARS characters",
        examples=["Tell me a long story"],
        validate_default=True,
    )
    agent: AgentName = "general"
    run_id: RunId | None = Field(None, description="Chosen by you, so that sending again never asks twice")
    on_busy: Literal["reject", "replace", "queue"] = Field(
        "reject", description="What to do when a reply is being made"
    )
    replaces: RunId | None = Field(
        None, description="Takes the place of this run's question; it and all behind it become a version"
    )

    @field_validator("message")
    @classmethod
    def _either(cls, message: str | None, info: ValidationInfo) -> str | None:
        if message is None and not info.data.get("continues"):
            raise PydanticCustomError("missing", "Field required")
        if message is not None and info.data.get("continues"):
            raise PydanticCustomError("too_many", "Leave it out beside continues")
        return message

    @field_validator("replaces")
    @classmethod
    def _alone(cls, replaces: str | None, info: ValidationInfo) -> str | None:
        if replaces and info.data.get("continues"):
            raise PydanticCustomError("too_many", "Leave it out beside continues")
        return replaces


class Edit(BaseModel):
    """What is to change: a title, the agent that answers, what every reply is told, its
    temperature.

    null takes instructions and temperature back.
    """

    title: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_not_blank)] | None = None
    agent: AgentName | None = None
    instructions: Annotated[str, Field(max_length=4000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _something(self) -> "Edit":
        told = self.model_fields_set
        if not told or ("title" in told and not self.title) or ("agent" in told and not self.agent):
            raise PydanticCustomError("missing", "Name what is to change; title and agent are never null")
        return self


class Edited(BaseModel):
    """What has changed, as it is kept."""

    chat_id: str
    title: str | None = None
    agent: str | None = None
    instructions: str | None = None
    temperature: float | None = None


class Swap(BaseModel):
    """The version that is to stand in the chat again."""

    version: Annotated[int, Field(ge=1, le=10**9)]


class Swapped(BaseModel):
    """The version stands in the chat; what stood there is a version now."""

    chat_id: str
    version: int
    status: Literal["swapped"] = "swapped"


class ForkAt(BaseModel):
    """The run with whose reply the new chat ends, and its id; one is made up without."""

    run_id: RunId
    chat_id: ChatId | None = None


class Forked(BaseModel):
    """The new chat."""

    chat_id: str
    title: str
    message_count: int


class Deleted(BaseModel):
    """The chat is forgotten."""

    chat_id: str
    status: Literal["deleted"] = "deleted"


class MessageBody(BaseModel):
    """One message. A reply tells how it ended, in `facts` who made it and what it used, in `parts`
    its steps.

    A step is `text`, `reasoning` or `tool`; `parts` is left out where there is only text.
    """

    role: str
    content: str
    created_at: str
    outcome: str | None = None
    run_id: str | None = None
    facts: dict[str, Any] | None = None
    parts: list[dict[str, Any]] | None = None
    versions: list["VersionBody"] | None = None

    @classmethod
    def of(cls, message: Message) -> "MessageBody":
        """Only what there is to tell is set."""
        names = ("outcome", "run_id", "facts", "parts")
        told = {name: getattr(message, name) for name in names}
        return cls(
            role=message.role,
            content=message.content,
            created_at=iso(message.created_ms),
            **{key: value for key, value in told.items() if value is not None},
        )


class VersionBody(BaseModel):
    """What stood in the place of a question, and behind it, before."""

    version: int
    created_at: str
    messages: list[MessageBody]

    @classmethod
    def of_version(cls, version: Version) -> "VersionBody":
        """`created_at` is the time of its question."""
        messages = [MessageBody.of(message) for message in version.messages]
        return cls(version=version.number, created_at=messages[0].created_at, messages=messages)


def with_versions(state: ChatState) -> list[MessageBody]:
    """The messages of a chat; a question that took the place of others has their versions."""
    found = [MessageBody.of(message) for message in state.messages]
    for body in found:
        if body.role == "user" and (versions := state.versions.get(body.run_id or "")):
            body.versions = [VersionBody.of_version(version) for version in versions]
    return found


class RunningBody(BaseModel):
    """The reply being made in a chat."""

    run_id: str
    agent: str
    backend: str
    started_at: str
    continues: bool = Field(False, description="What it says joins the last message")

    @classmethod
    def of(cls, live: LiveRun) -> "RunningBody":
        return cls(
            run_id=live.run_id, agent=live.agent, backend=live.backend, started_at=iso(live.started_ms),
            **({"continues": True} if live.continues else {}),
        )  # fmt: skip


class WaitingBody(BaseModel):
    """A message that waits for the reply before it."""

    run_id: str
    message: str
    created_at: str

    @classmethod
    def of(cls, waiting: Waiting) -> "WaitingBody":
        return cls(run_id=waiting.run_id, message=waiting.text, created_at=iso(waiting.created_ms))


class QueuedBody(BaseModel):
    """The message waits; `position` counts from 1."""

    status: Literal["queued"] = "queued"
    run_id: str
    position: int
    chat_id: str


class Unsent(BaseModel):
    """A message that was taken back or handed back; nothing answers it."""

    run_id: str
    message: str


class TakenBack(Unsent):
    """The message waits no more."""

    chat_id: str
    status: Literal["taken_back"] = "taken_back"


class ChatBody(BaseModel):
    """A chat with its messages, oldest first; an unknown one is `new`."""

    chat_id: str
    status: Status
    agent: str | None
    title: str | None
    message_count: int
    messages: list[MessageBody]
    run: RunningBody | None
    queued: list[WaitingBody]
    created_at: str | None
    updated_at: str | None
    expires_at: str | None = Field(description="null: kept until it is deleted or evicted")
    instructions: str | None
    temperature: float | None


class ChatRow(BaseModel):
    """A chat in the list."""

    chat_id: str
    title: str | None
    agent: str | None
    status: Status
    message_count: int
    updated_at: str | None
    expires_at: str | None
    excerpt: str | None = Field(None, description="With q: what stands around the words")


class ChatsBody(BaseModel):
    """A page of chats, newest activity first, and how many there are.

    With `q`: those that hold the words, titles first; `complete` is false when the time was up
    before all were read.
    """

    chats: list[ChatRow]
    count: int
    complete: bool = True


class Exported(BaseModel):
    """A chat as a JSON file."""

    chat_id: str
    title: str | None
    messages: list[MessageBody]


# stops and runs


class StopBody(BaseModel):
    """Which run is meant (without it, whatever runs in the chat), and how much of it was seen."""

    run_id: RunId | None = None
    seen: Annotated[int, Field(ge=0, le=10**9)] | None = Field(
        None, description="Number of the last event on the screen; what is kept ends with it"
    )


class StopAnswer(BaseModel):
    """What became of a stop. `backend` holds the run, `answered_by` took the request."""

    chat_id: str
    status: str = "accepted"
    message: str
    run_id: str | None
    result: Result | None
    stop_ms: float | None
    backend: str | None
    answered_by: str
    unsent: list[Unsent] = Field(description="Messages that waited and are handed back")


class BulkBody(BaseModel):
    """Chats to stop; the same one twice counts once."""

    chat_ids: list[ChatId] = Field(min_length=1, max_length=1000)


class BulkAnswer(BaseModel):
    """One answer for each chat."""

    status: str = "accepted"
    results: list[StopAnswer]
    total: int
    successful: int
    failed: int


class RunBody(BaseModel):
    """A run on some backend."""

    run_id: str
    chat_id: str
    agent: str
    backend: str
    started_at: str


class RunsBody(BaseModel):
    """What runs now, oldest first."""

    runs: list[RunBody]
    count: int


# agents, health, the older API


class AgentBody(BaseModel):
    """An agent, the model it answers with and its tools."""

    name: str
    description: str
    provider: str
    model: str
    tools: list[str]


class AgentsBody(BaseModel):
    agents: list[AgentBody]


class AgentNames(BaseModel):
    agents: list[str]


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Health(BaseModel):
    """Whether a backend can serve, and what it is."""

    status: Literal["healthy", "unhealthy"]
    redis: Literal["connected", "disconnected"]
    trouble: str | None = Field(None, description="away, full, read-only, refusing or evicting")
    backend: str
    version: str
    provider: str
    model: str
    message_max_chars: int
    active_runs: int
    stop_listener: Literal["listening", "polling"]
    draining: bool


class RedisStatus(BaseModel):
    status: Literal["connected"] = "connected"
    version: str
    latency_ms: float
    used_memory_bytes: int | None
    maxmemory_policy: str | None


class StatusBody(BaseModel):
    """The backends, what they make, the stops of the last hour, and Redis."""

    backends: list[dict[str, Any]]
    runs: list[RunBody]
    stops: list[dict[str, Any]]
    redis: RedisStatus


class OlderAsk(BaseModel):
    """A message to the older API."""

    message: MessageText
    agent: AgentName = "general"
    stream: bool = False
    conversation_id: ChatId | None = None


class OlderReply(BaseModel):
    """A whole reply."""

    reply: str
    conversation_id: str
    model: str
    provider: str
    outcome: str
