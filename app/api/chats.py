"""Chats and their streams."""

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from pydantic import AfterValidator, BaseModel, Field

from app.api.access import owner
from app.api.problems import answers
from app.api.sse import FRAMES, Format, RunStream
from app.chat.send import Chats, Question
from app.errors import NotFound
from app.runs.readers import Readers, Reading
from app.store.keys import Chat
from app.store.memory import Memory
from app.store.records import ChatState, Message
from app.times import iso

router = APIRouter(prefix="/api/v1", tags=["chats"])

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


class Ask(BaseModel):
    """A message and how it is to be answered."""

    message: MessageText = Field(
        description="1 to MESSAGE_MAX_CHARS characters", examples=["Tell me a long story"]
    )
    agent: str = Field("general", min_length=1, max_length=64)
    run_id: RunId | None = Field(None, description="Chosen by you, so that sending again never asks twice")
    on_busy: Literal["reject", "replace"] = Field(
        "reject", description="What to do when a reply is being made"
    )
    replaces: RunId | None = Field(
        None, description="Takes the place of this run's question; it and all that follows it is dropped"
    )


class Rename(BaseModel):
    title: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_not_blank)]


async def path_chat(
    chat_id: Annotated[ChatId, Path(examples=["test-chat-001"])], of: Annotated[str, Depends(owner)]
) -> Chat:
    """The chat in the path, among those of the caller."""
    return Chat(of, chat_id)


OneChat = Annotated[Chat, Depends(path_chat)]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; see the README for both formats",
        "content": {"text/event-stream": {}},
    }
}


@router.post(
    "/chat/{chat_id}", response_class=Response, responses=_STREAM | answers(400, 404, 409, 413, 502, 503)
)
async def send_message(
    chat: OneChat, ask: Ask, request: Request, format: Annotated[Format, Query()] = "text"
) -> Response:
    """Send a message; the reply streams back."""
    check_length(ask.message, request)
    run_id = ask.run_id or uuid.uuid4().hex
    question = Question(ask.message, ask.agent, run_id, ask.on_busy, ask.replaces)
    return stream(await chats(request).send(chat, question), format)


@router.get(
    "/chat/{chat_id}/events",
    response_class=Response,
    responses=_STREAM | {204: {"description": "Nothing to send"}} | answers(503),
)
async def attach(
    chat: OneChat,
    request: Request,
    format: Annotated[Format, Query()] = "text",
    after: Annotated[str | None, Query(description="Same as the header Last-Event-ID")] = None,
    last_event_id: Annotated[str | None, Header(description="<run_id>:<n> of the last event seen")] = None,
) -> Response:
    """Attach to the live or last reply of a chat, behind the last event seen."""
    readers: Readers = request.app.state.readers
    reading = await readers.attach(chat, last_event_id or after)
    return stream(reading, format) if reading else Response(status_code=204)


@router.get("/chat/{chat_id}", responses=answers(503))
async def read_chat(chat: OneChat, request: Request) -> dict[str, Any]:
    """Status and messages of a chat; an unknown one is new."""
    state = await memory(request).read(chat)
    live = state.live
    return {
        "chat_id": chat.id,
        "status": _status(state.fields, len(state.messages)),
        "agent": state.fields.get("agent"),
        "title": state.fields.get("title") or None,
        "message_count": len(state.messages),
        "messages": [message_body(message) for message in state.messages],
        "run": live
        and {
            "run_id": live.run_id,
            "agent": live.agent,
            "backend": live.backend,
            "started_at": iso(live.started_ms),
        },
        "created_at": _time(state.fields, "created_at"),
        "updated_at": _time(state.fields, "updated_at"),
    }


@router.patch("/chat/{chat_id}", responses=answers(404, 503))
async def rename_chat(chat: OneChat, rename: Rename, request: Request) -> dict[str, str]:
    """Give a chat another title."""
    title = " ".join(rename.title.split())
    if not await memory(request).rename(chat, title):
        raise NotFound("There is no such chat.")
    return {"chat_id": chat.id, "title": title}


@router.delete("/chat/{chat_id}", responses=answers(404, 503))
async def delete_chat(chat: OneChat, request: Request) -> dict[str, str]:
    """Stop the reply if one is being made, and forget the chat."""
    await chats(request).delete(chat)
    return {"chat_id": chat.id, "status": "deleted"}


@router.get("/chat/{chat_id}/export", response_class=Response, responses=answers(404, 503))
async def export_chat(
    chat: OneChat, request: Request, format: Annotated[Literal["markdown", "json"], Query()] = "markdown"
) -> Response:
    """A chat as a file."""
    state = await memory(request).read(chat)
    if not state.fields:
        raise NotFound("There is no such chat.")
    ending = "md" if format == "markdown" else "json"
    headers = {
        "Content-Disposition": f'attachment; filename="{chat.id}.{ending}"',
        "Cache-Control": "no-store",
    }
    if format == "markdown":
        return PlainTextResponse(_markdown(state), headers=headers, media_type="text/markdown")
    body = Exported(
        chat_id=chat.id, title=state.fields.get("title"), messages=[message_body(m) for m in state.messages]
    )
    return Response(body.model_dump_json(indent=2), headers=headers, media_type="application/json")


class Exported(BaseModel):
    """A chat as a JSON file."""

    chat_id: str
    title: str | None
    messages: list[dict[str, Any]]


@router.get("/chats", responses=answers(503))
async def list_chats(
    request: Request,
    of: Annotated[str, Depends(owner)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> dict[str, Any]:
    """Chats, newest activity first."""
    rows, count = await memory(request).listed(of, limit, offset)
    listed = [
        {
            "chat_id": chat_id,
            "title": fields.get("title") or None,
            "agent": fields.get("agent"),
            "status": _status(fields, length),
            "message_count": length,
            "updated_at": _time(fields, "updated_at"),
        }
        for chat_id, fields, length in rows
    ]
    return {"chats": listed, "count": count}


def chats(request: Request) -> Chats:
    found: Chats = request.app.state.chats
    return found


def memory(request: Request) -> Memory:
    found: Memory = request.app.state.memory
    return found


def check_length(message: str, request: Request) -> None:
    """Refuses a message that is longer than the settings allow."""
    most = request.app.state.settings.message_max_chars
    if len(message) > most:
        detail = f"String should have at most {most} characters"
        raise RequestValidationError([{"loc": ("body", "message"), "msg": detail, "type": "string_too_long"}])


def stream(reading: Reading, form: Format) -> RunStream:
    """The answer that streams this reading."""
    feed = reading.feed
    headers = {
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",
        "X-Run-Id": feed.run_id,
        "X-Chat-Id": feed.chat_id,
    }
    return RunStream(reading, FRAMES[form], "text/event-stream", headers)


def message_body(message: Message) -> dict[str, Any]:
    """One message as the API shows it."""
    shown = {"role": message.role, "content": message.content, "created_at": iso(message.created_ms)}
    extra = {"outcome": message.outcome, "run_id": message.run_id, "facts": message.facts}
    return shown | {key: value for key, value in extra.items() if value is not None}


def _status(fields: dict[str, str], messages: int) -> str:
    if "run_id" in fields:
        return "running"
    return "active" if messages else "new"


def _time(fields: dict[str, str], field: str) -> str | None:
    return iso(int(fields[field])) if field in fields else None


def _markdown(state: ChatState) -> str:
    parts = [f"# {state.fields.get('title') or 'Chat'}"]
    for message in state.messages:
        who = "You" if message.role == "user" else "Assistant"
        note = f" ({message.outcome})" if message.outcome not in (None, "done") else ""
        parts.append(f"## {who}{note}\n\n*{iso(message.created_ms)}*\n\n{message.content}")
    return "\n\n".join(parts) + "\n"
