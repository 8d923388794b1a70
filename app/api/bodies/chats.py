"""What is asked of a chat and what it answers."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.api.bodies.fields import AgentName, ChatId, FileId, MessageText, RunId, Status, not_blank
from app.api.bodies.messages import FileBody, MessageBody, RunningBody, WaitingBody

Instructions = Annotated[str, Field(max_length=4000)]
Warmth = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]


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

    files: Annotated[list[FileId], Field(max_length=4)] = Field(
        [], description="Files of this chat that go along, sent to /files before"
    )

    instructions: Instructions | None = Field(
        None, description="For every reply of the chat that begins with this message; PATCH changes them"
    )
    temperature: Warmth | None = Field(None, description="The same")

    @field_validator("files")
    @classmethod
    def _each_once(cls, files: list[str], info: ValidationInfo) -> list[str]:
        if files and info.data.get("continues"):
            raise PydanticCustomError("too_many", "Leave them out beside continues")
        if len(set(files)) < len(files):
            raise PydanticCustomError("twice", "Name each file once")
        return files

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

    title: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(not_blank)] | None = None
    agent: AgentName | None = None
    instructions: Instructions | None = None
    temperature: Warmth | None = None

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
    files: list[FileBody] | None = None


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
    unsent: list[WaitingBody] = Field(description="What the last stop handed back, until the next message")
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
