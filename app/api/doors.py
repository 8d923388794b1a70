"""What the doors for other programs share: names of agents and chats, turns, endings, lines of tools."""

import json
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Literal

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from app.api.bodies.fields import ChatId
from app.api.here import Here
from app.backend import Backend
from app.errors import NoSuchModel, UnknownAgent, Unsupported
from app.events import OPEN, End, Event, Tool
from app.runs.feed import Feed
from app.store.records import Message

SHOWN = 300  # characters of a tool's input and output in its line
ONLY_PICTURES = "[picture]"  # the words of a message without any
ASSISTANT, USER = "assistant", "user"

Finish = Literal["stop", "length", "content_filter"]


class Part(BaseModel):
    """A piece of a message: text, or a picture as a `data:` URL."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None
    image_url: str | dict[str, Any] | None = None

    @property
    def is_picture(self) -> bool:
        return self.type in ("image_url", "input_image")


class Lean(APIRoute):
    """A route whose request is gone, with the conversation in its body, when its answer begins to stream."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def lean(request: Request) -> Response:
            return await handler(Request(request.scope, request.receive))

        return lean


async def opened(here: Here) -> None:
    """Answers 404 where the settings shut this door."""
    if not here.settings.openai_door:
        raise HTTPException(404)


def known(here: Backend, model: str) -> str:
    """The agent of this name. Raises `NoSuchModel`."""
    try:
        return here.answerer.catalog.get(model).name
    except UnknownAgent:
        raise NoSuchModel("There is no such model. GET /v1/models lists those there are.") from None


def chat_id(named: str) -> str:
    """The chat that a header names. Raises `RequestValidationError` for one that cannot name a chat."""
    return valid(ChatId, named, "header", "chat_id")


def valid(kind: Any, value: str, *place: str) -> str:
    """This value, checked as the same one is elsewhere. Raises `RequestValidationError`."""
    try:
        return str(TypeAdapter(kind).validate_python(value))
    except ValidationError as error:
        raise malformed(error.errors()[0]["msg"], *place) from None


def malformed(told: str, *place: str) -> RequestValidationError:
    """What a request is told that is malformed here."""
    return RequestValidationError([{"loc": place, "msg": told, "type": "value_error"}])


def words(content: str | list[Part] | None) -> str:
    """The text of a message. Raises `Unsupported` for pieces that are neither text nor pictures."""
    if isinstance(content, list):
        said = [part for part in content if not part.is_picture]
        texts = [part.text if part.text is not None else part.refusal for part in said]
        if odd := next((part.type for part, text in zip(said, texts, strict=True) if text is None), None):
            kind = odd if odd in ("input_audio", "file", "input_file") else "this"
            raise Unsupported(f"Content of type {kind} is not supported; send text.", param="messages")
        return "\n\n".join(text or "" for text in texts) or (ONLY_PICTURES if content else "")
    return content or ""


def system_of(messages: Iterable[tuple[str, str]]) -> str:
    """The instructions among these messages, as one."""
    return "\n\n".join(text for role, text in messages if role in ("system", "developer") and text.strip())


def given(messages: Iterable[Message]) -> tuple[tuple[Message, ...], Message]:
    """The turns before the question, and the question: empty where the conversation ends with a reply.

    Raises `RequestValidationError` where nobody says anything.
    """
    turns = [
        replace(one, role=ASSISTANT if one.role == ASSISTANT else USER)
        for one in messages
        if one.role not in ("system", "developer") and one.content.strip()
    ]
    if not turns:
        raise malformed("There is nothing to answer: send a message of the user", "body", "messages")
    asked = turns.pop() if turns[-1].role == USER else Message(USER, "")
    return tuple(turns), asked


def tool_line(feed: Feed, number: int, event: Event, base: str) -> str:
    """One line that tells a tool call that is over or waits for a person, and nothing for other events."""
    if type(event) is not Tool or event.status == "running":
        return ""
    if event.status == "asked":
        return asked_line(feed.chat_id, event, base)
    begun = (one for one in feed.events[:number] if type(one) is Tool and one.status in OPEN)
    return call_line(event, next((one.input for one in begun if one.tool_use_id == event.tool_use_id), None))


def asked_line(chat_id: str, event: Tool, base: str) -> str:
    """One line that tells that a person must agree, and where; `base` is what BASE_PATH says."""
    body = json.dumps({"tool_use_id": event.tool_use_id, "approve": True})
    address = f"{base}/api/v1/chat/{chat_id}/approve"
    return f"\n{_as_call(event, event.input)} waits for approval: POST {address} {body}\n"


def call_line(event: Tool, asked: Any) -> str:
    """One line that tells this call, with what it was asked."""
    result = f"= {_short(event.output or '')}" if event.status == "done" else event.status
    return f"\n{_as_call(event, asked)} {result}\n"


def finish_of(end: End) -> Finish:
    """How OpenAI calls this ending."""
    if end.stop_reason == "max_tokens":
        return "length"
    return "content_filter" if end.stop_reason in ("content_filtered", "guardrail_intervened") else "stop"


def _as_call(event: Tool, asked: Any) -> str:
    shown = ", ".join(map(_short, asked.values())) if isinstance(asked, dict) else _short(asked or "")
    return f"{event.name}({shown})"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text[: SHOWN * 2].split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
