"""The bodies of OpenAI's addresses, in and out, as far as they mean something here."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.api.bodies.fields import ChatId
from app.api.doors import Finish, Part

CREATED = 1767225600  # of the models; the same on every backend

# chat completions


class Turn(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None


class Ask(BaseModel):
    """What clients send; members that are not named here are taken and mean nothing."""

    model: str = Field(description="The name of an agent", examples=["general"])
    messages: list[Turn] = Field(min_length=1, examples=[[{"role": "user", "content": "Hello"}]])
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    n: int | None = None
    response_format: dict[str, Any] | None = None
    tool_choice: Any = None


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = CREATED
    owned_by: str = "fastapi-agent-chat"
    name: str
    description: str


class Models(BaseModel):
    """The agents, as models."""

    object: Literal["list"] = "list"
    data: list[Model]


class Said(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    reasoning_content: str | None = None


class Choice(BaseModel):
    index: int = 0
    message: Said
    finish_reason: Finish


class Counted(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """A whole reply."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Counted


# responses


class Item(BaseModel):
    """A piece of the input; only messages are read."""

    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[Part] | None = None


class Named(BaseModel):
    id: ChatId


class Create(BaseModel):
    """What clients send; members that are not named here are taken and mean nothing."""

    model: str = Field(description="The name of an agent", examples=["general"])
    input: str | list[Item] = Field(examples=["Hello"])
    instructions: str | None = None
    stream: bool | None = False
    background: bool | None = False
    store: bool | None = True
    previous_response_id: str | None = None
    conversation: ChatId | Named | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    text: dict[str, Any] | None = None
    tool_choice: Any = None


class ResponseBody(BaseModel):
    """A response and what it says so far."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: str
    background: bool
    conversation: dict[str, str] | None
    error: dict[str, Any] | None = None
    incomplete_details: dict[str, str] | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool = True
    previous_response_id: str | None
    store: bool
    temperature: float | None
    text: dict[str, Any] = {"format": {"type": "text"}}
    tool_choice: str = "auto"
    tools: list[Any] = []
    top_p: float | None = None
    truncation: str = "disabled"
    usage: dict[str, Any] | None = None


class Forgotten(BaseModel):
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True
