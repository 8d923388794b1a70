"""Every body that comes in and goes out, as models; what the API description says of them stands here."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from app.events import iso
from app.store.records import LiveRun, Message
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
    """A message and how it is to be answered."""

    message: MessageText = Field(
        description="1 to MESSAGE_MAX_CHARS characters", examples=["Tell me a long story"]
    )
    agent: AgentName = "general"
    run_id: RunId | None = Field(None, description="Chosen by you, so that sending again never asks twice")
    on_busy: Literal["reject", "replace", "queue"] = Field(
        "reject", description="What to do when a reply is being made"
    )
    replaces: RunId | None = Field(
        None, description="Takes the place of this run's question; it and all behind it become a version"
    )


class Rename(BaseModel):
    """A new title."""

    title: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_not_blank)]


class Renamed(BaseModel):
    """The title as it is kept."""

    chat_id: str
    title: str


class Deleted(BaseModel):
    """The chat is forgotten."""

    chat_id: str
    status: Literal["deleted"] = "deleted"


class MessageBody(BaseModel):
    """One message. A reply tells how it ended and, in `facts`, who made it and what it used."""

    role: str
    content: str
    created_at: str
    outcome: str | None = None
    run_id: str | None = None
    facts: dict[str, Any] | None = None

    @classmethod
    def of(cls, message: Message) -> "MessageBody":
        """Only what there is to tell is set."""
        told = {"outcome": message.outcome, "run_id": message.run_id, "facts": message.facts}
        return cls(
            role=message.role,
            content=message.content,
            created_at=iso(message.created_ms),
            **{key: value for key, value in told.items() if value is not None},  # type: ignore[arg-type]
        )


class RunningBody(BaseModel):
    """The reply being made in a chat."""

    run_id: str
    agent: str
    backend: str
    started_at: str

    @classmethod
    def of(cls, live: LiveRun) -> "RunningBody":
        return cls(
            run_id=live.run_id, agent=live.agent, backend=live.backend, started_at=iso(live.started_ms)
        )


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


class ChatRow(BaseModel):
    """A chat in the list."""

    chat_id: str
    title: str | None
    agent: str | None
    status: Status
    message_count: int
    updated_at: str | None
    excerpt: str | None = Field(None, description="With q: what stands around the words")


class ChatsBody(BaseModel):
    """A page of chats, newest activity first, and how many there are.

    With `q`: those that hold the words, titles first; `complete` is false when the time was up before all
    were read.
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
    """Which run is meant; without it, whatever runs in the chat."""

    run_id: RunId | None = None


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
