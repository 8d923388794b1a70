"""OpenAI's chat completions: agents are models, what the client sends is what the model sees.

A run like any other lies under it; a client that hangs up ends it. Clients stumble over `id:` lines and named
events, and try to run what `tool_calls` names: so there are none.
"""

import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from app.agents.wishes import Wishes
from app.api.bodies import ChatId
from app.api.here import Here
from app.api.keys import Owner
from app.api.older import told_failure, whole
from app.api.problems import answers
from app.api.sse import RunStream
from app.backend import Backend
from app.chat.send import Question
from app.errors import NoSuchModel, UnknownAgent, Unsupported
from app.events import End, Event, Reasoning, Text, Tool, Usage, reply_text
from app.runs.feed import Feed
from app.store.keys import Chat

CREATED = 1767225600  # of the models; the same on every backend
SHOWN = 300  # characters of a tool's input and output in its line
ASSISTANT, USER = "assistant", "user"

Finish = Literal["stop", "length", "content_filter"]


async def opened(here: Here) -> None:
    """Answers 404 where the settings shut this door."""
    if not here.settings.openai_door:
        raise HTTPException(404)


router = APIRouter(prefix="/v1", tags=["OpenAI"], dependencies=[Depends(opened)])


class Part(BaseModel):
    """A piece of a message; only text is read."""

    type: str = "text"
    text: str | None = None


class Turn(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @property
    def words(self) -> str:
        return words(self.content)


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


@dataclass(frozen=True, slots=True)
class Place:
    """The chat that a client names; without `keep` it is one of the run's own. `task`: no person asks."""

    id: str
    keep: bool
    task: bool


async def _place(
    x_chat_id: Annotated[str | None, Header(description="The chat that becomes this conversation")] = None,
    x_openwebui_chat_id: Annotated[str | None, Header()] = None,
    x_conversation_id: Annotated[str | None, Header()] = None,
    x_openwebui_task: Annotated[str | None, Header(description="Nothing is kept, no tool used")] = None,
) -> Place:
    named, task = x_chat_id or x_openwebui_chat_id or x_conversation_id or "", bool(x_openwebui_task)
    keep = bool(named) and not named.startswith("local:") and not task  # Open WebUI's temporary chats
    return Place(chat_id(named) if keep else uuid.uuid4().hex, keep, task)


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "The reply", "content": {"text/event-stream": {}}}
}


@router.get("/models")
async def openai_models(here: Here, _: Owner) -> Models:
    """The agents, as OpenAI's clients list models."""
    return Models(data=[_model(one) for one in here.answerer.catalog])


@router.get("/models/{model}", responses=answers(404))
async def openai_model(model: str, here: Here, _: Owner) -> Model:
    """One agent, as a model."""
    return next(one for one in (await openai_models(here, _)).data if one.id == known(here, model))


@router.post(
    "/chat/completions",
    response_model=Completion,
    responses=_STREAM | answers(400, 404, 409, 413, 502, 503),
)
async def chat_completions(
    ask: Ask, request: Request, here: Here, of: Owner, place: Annotated[Place, Depends(_place)]
) -> Any:
    """Send a conversation; the reply comes whole, or as OpenAI's chunks with `stream`."""
    _check(ask)
    chat, run_id = Chat(of, place.id), uuid.uuid4().hex
    wishes = Wishes(
        system=system_of((turn.role, turn.words) for turn in ask.messages),
        max_tokens=ask.max_completion_tokens or ask.max_tokens,
        temperature=ask.temperature,
        tools=not place.task,
    )
    turns, text = given((turn.role, turn.words) for turn in ask.messages)
    question = Question(
        text, known(here, ask.model), run_id, "replace", turns=turns, keep=place.keep, wishes=wishes
    )
    reading = await here.chats.send(chat, question, leaving_ends=True)
    headers = {"X-Run-Id": run_id, "X-Chat-Id": chat.id}
    created = int(time.time())
    if ask.stream:
        counted = bool((ask.stream_options or {}).get("include_usage"))
        chunks = Chunks(reading.feed, ask.model, created, counted=counted)
        return RunStream(
            reading, chunks, "text/event-stream; charset=utf-8", headers,
            hello=chunks.first, heartbeat=chunks.heartbeat,
        )  # fmt: skip
    end = await whole(reading, request)
    if end is None:
        return Response(status_code=204)
    told_failure(end.error)
    completion = _completion(reading.feed, end, ask.model, created)
    return Response(completion.model_dump_json(exclude_none=True), 200, headers, "application/json")


class Chunks:
    """The events of a run as chunks; the first is sent before the model is asked."""

    def __init__(self, feed: Feed, model: str, created: int, *, counted: bool) -> None:
        head = {"id": f"chatcmpl-{feed.run_id}", "object": "chat.completion.chunk"}
        self._head = json.dumps(head | {"created": created, "model": model})[:-1]
        self._feed = feed
        self._counted = counted
        self.first = self._chunk('{"role": "assistant", "content": ""}').encode()
        self.heartbeat = self._chunk("{}").encode()

    def __call__(self, _: str, number: int, event: Event) -> str:
        if type(event) is Text:
            return self._chunk(f'{{"content": {quoted(event.text)}}}')
        if type(event) is End:
            return self._end(event)
        thought = event.text if type(event) is Reasoning else tool_line(self._feed, number, event)
        return self._chunk(f'{{"reasoning_content": {quoted(thought)}}}') if thought else ""

    def _chunk(self, delta: str, finish: str = "null") -> str:
        choice = f'{{"index": 0, "delta": {delta}, "finish_reason": {finish}}}'
        return f'data: {self._head}, "choices": [{choice}]}}\n\n'

    def _end(self, end: End) -> str:
        if end.error:
            error = {"message": end.error.message, "type": "server_error", "param": None}
            told = {"error": error | {"code": end.error.code}}
            return f"data: {json.dumps(told)}\n\ndata: [DONE]\n\n"
        usage = ""
        if self._counted:
            counted = _counted(end.usage).model_dump_json()
            usage = f'data: {self._head}, "choices": [], "usage": {counted}}}\n\n'
        return f"{self._chunk('{}', quoted(finish_of(end)))}{usage}data: [DONE]\n\n"


# what the doors share


def known(here: Backend, model: str) -> str:
    """The agent of this name. Raises `NoSuchModel`."""
    try:
        return here.answerer.catalog.get(model).name
    except UnknownAgent:
        raise NoSuchModel("There is no such model. GET /v1/models lists those there are.") from None


def chat_id(named: str) -> str:
    """The chat that a header names. Raises `Unsupported` for one that cannot name a chat."""
    try:
        return TypeAdapter(ChatId).validate_python(named)
    except ValidationError:
        told = (
            "The header that names the chat must hold 1 to 128 of A-Z a-z 0-9 . _ - and begin with a letter."
        )
        raise Unsupported(told, code="invalid") from None


def words(content: str | list[Part] | None) -> str:
    """The text of a message. Raises `Unsupported` for pieces that are no text."""
    if isinstance(content, list):
        if odd := next((part.type for part in content if part.text is None), None):
            kind = odd if odd in ("image_url", "input_image", "input_audio", "file", "input_file") else "this"
            raise Unsupported(f"Content of type {kind} is not supported; send text.", param="messages")
        return "\n\n".join(part.text or "" for part in content)
    return content or ""


def system_of(messages: Iterable[tuple[str, str]]) -> str:
    """The instructions among these messages, as one."""
    return "\n\n".join(text for role, text in messages if role in ("system", "developer") and text.strip())


def given(messages: Iterable[tuple[str, str]]) -> tuple[tuple[tuple[str, str], ...], str]:
    """The turns before the question, and the question: empty where the conversation ends with a reply."""
    turns = [
        (ASSISTANT if role == ASSISTANT else USER, text)
        for role, text in messages
        if role not in ("system", "developer") and text.strip()
    ]
    if not turns:
        raise Unsupported("There is nothing to answer: send a message of the user.", param="messages")
    text = turns.pop()[1] if turns[-1][0] == USER else ""
    return tuple(turns), text


def tool_line(feed: Feed, number: int, event: Event) -> str:
    """One line that tells a tool call that is over, and nothing for other events."""
    if type(event) is not Tool or event.status == "running":
        return ""
    begun = (one for one in feed.events[:number] if type(one) is Tool and one.status == "running")
    return call_line(event, next((one.input for one in begun if one.tool_use_id == event.tool_use_id), None))


def call_line(event: Tool, asked: Any) -> str:
    """One line that tells this call, with what it was asked."""
    shown = ", ".join(map(_short, asked.values())) if isinstance(asked, dict) else _short(asked or "")
    result = f"= {_short(event.output or '')}" if event.status == "done" else event.status
    return f"\n{event.name}({shown}) {result}\n"


def finish_of(end: End) -> Finish:
    """How OpenAI calls this ending."""
    if end.stop_reason == "max_tokens":
        return "length"
    return "content_filter" if end.stop_reason in ("content_filtered", "guardrail_intervened") else "stop"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text[: SHOWN * 2].split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _check(ask: Ask) -> None:
    """Raises `Unsupported` for what would change the answer and is not done here."""
    if ask.n not in (None, 1):
        raise Unsupported("Only one choice can be made at a time: n must be 1.", param="n")
    if (ask.response_format or {}).get("type", "text") != "text":
        raise Unsupported("Only text can be answered.", param="response_format")
    if ask.tool_choice not in (None, "auto", "none"):
        raise Unsupported(
            "The tools here are those of the agent: they cannot be chosen.", param="tool_choice"
        )


def _model(agent: Any) -> Model:
    return Model(id=agent.name, name=agent.name, description=agent.description)


def _counted(usage: Usage) -> Counted:
    asked, said = usage.input_tokens, usage.output_tokens
    return Counted(prompt_tokens=asked, completion_tokens=said, total_tokens=asked + said)


def _completion(feed: Feed, end: End, model: str, created: int) -> Completion:
    thoughts = (
        event.text if type(event) is Reasoning else tool_line(feed, number, event)
        for number, event in enumerate(feed.events, 1)
    )
    said = Said(content=reply_text(feed.events), reasoning_content="".join(thoughts).strip() or None)
    choice = Choice(message=said, finish_reason=finish_of(end))
    return Completion(
        id=f"chatcmpl-{feed.run_id}",
        created=created,
        model=model,
        choices=[choice],
        usage=_counted(end.usage),
    )
