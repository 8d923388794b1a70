"""Chats and their streams."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.exceptions import RequestValidationError

from app.api.agui_frames import AgUi
from app.api.bodies.chats import (
    Ask,
    ChatBody,
    ChatRow,
    ChatsBody,
    Deleted,
    Edit,
    Edited,
    ForkAt,
    Forked,
    Swap,
    Swapped,
)
from app.api.bodies.fields import Status
from app.api.bodies.messages import RunningBody, WaitingBody, with_versions
from app.api.here import Here, OneChat
from app.api.keys import Owner
from app.api.problems import answers
from app.api.queue import QUEUED, queued
from app.api.sse import FRAMES, Format, RunStream
from app.backend import Backend
from app.chat import branch
from app.chat.question import Question
from app.events import iso
from app.runs.readers import Reading
from app.settings import Settings
from app.store.keys import Chat
from app.store.lines import temperature_of
from app.store.waiting import Waiting

router = APIRouter(prefix="/api/v1", tags=["chats"])


async def _behind(
    last_event_id: Annotated[str | None, Header(description="<run_id>:<n> of the last event seen")] = None,
    after: Annotated[str | None, Query(description="Same as the header Last-Event-ID")] = None,
    last_event: Annotated[str | None, Query(alias="lastEventId", description="Same as after")] = None,
) -> str | None:
    """The last event that a reader has seen, as it tells it."""
    return last_event_id or after or last_event


Behind = Annotated[str | None, Depends(_behind)]

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; see the README for both formats",
        "content": {"text/event-stream": {}},
    }
}
_NOTHING: dict[int | str, dict[str, Any]] = {204: {"description": "Nothing to send"}}


@router.post(
    "/chat/{chat_id}",
    response_class=Response,
    responses=_STREAM | _NOTHING | QUEUED | answers(400, 404, 409, 413, 502, 503),
)
async def send_message(
    chat: OneChat, ask: Ask, here: Here, after: Behind, format: Annotated[Format, Query()] = "text"
) -> Response:
    """Send a message; the reply streams back.

    One that names the last event it saw of a run of this chat is repeated by a client library after
    a cut: it attaches behind that event.
    """
    if after and await here.readers.knows(chat, after):
        return _attached(await here.readers.attach(chat, after, only=True), format)
    text = ask.message or ""
    check_length(text, here.settings)
    question = Question(
        text, ask.agent, ask.run_id or uuid.uuid4().hex, ask.on_busy, ask.replaces, ask.continues,
        chosen="agent" in ask.model_fields_set,
        files=tuple(file.entry() for file in await here.store.files.look_up(chat, ask.files)),
        instructions=ask.instructions or "", temperature=ask.temperature,
    )  # fmt: skip
    met = await here.chats.send_or_wait(chat, question)
    return queued(chat.id, met) if isinstance(met, Waiting) else stream(met, format)


@router.get(
    "/chat/{chat_id}/events",
    response_class=Response,
    responses=_STREAM | _NOTHING | answers(503),
)
async def attach(
    chat: OneChat,
    here: Here,
    after: Behind,
    format: Annotated[Format, Query()] = "text",
) -> Response:
    """Attach to the live or last reply of a chat, or to the one seen last, behind the last event seen."""
    return _attached(await here.readers.attach(chat, after), format)


@router.get("/chat/{chat_id}", responses=answers(503), response_model_exclude_unset=True)
async def read_chat(chat: OneChat, here: Here) -> ChatBody:
    """Status and messages of a chat; an unknown one is new."""
    state = await here.store.memory.read(chat)
    live = state.live
    (asked,) = await here.store.approvals.waiting([(chat, live)]) if live else [[]]
    return ChatBody(
        chat_id=chat.id,
        status=_status(state.fields, len(state.messages)),
        agent=state.fields.get("agent"),
        title=state.fields.get("title") or None,
        message_count=len(state.messages),
        messages=with_versions(state),
        run=RunningBody.of(live, asked) if live else None,
        queued=[WaitingBody.of(one) for one in state.queued],
        unsent=[WaitingBody.of(one) for one in state.unsent],
        created_at=_time(state.fields, "created_at"),
        updated_at=_time(state.fields, "updated_at"),
        expires_at=_expiry(here, state.fields),
        instructions=state.fields.get("instructions"),
        temperature=temperature_of(state.fields.get("temperature")),
    )


@router.patch("/chat/{chat_id}", responses=answers(400, 404, 503), response_model_exclude_unset=True)
async def edit_chat(chat: OneChat, edit: Edit, here: Here) -> Edited:
    """Give a chat another title, agent, instructions or temperature."""
    told = edit.model_dump(exclude_unset=True)
    if edit.title:
        told["title"] = " ".join(edit.title.split())
    wanted = {name: "" if value is None else str(value) for name, value in told.items()}
    await branch.edit(here.store, here.answerer.catalog, chat, wanted)
    return Edited(chat_id=chat.id, **told)


@router.post("/chat/{chat_id}/versions", responses=answers(404, 409, 503))
async def swap_version(chat: OneChat, swap: Swap, here: Here) -> Swapped:
    """Put a version back in its place; what stood there becomes a version."""
    await branch.swap(here.store, chat, swap.version)
    return Swapped(chat_id=chat.id, version=swap.version)


@router.post("/chat/{chat_id}/fork", status_code=201, responses=answers(404, 409, 413, 503))
async def fork_chat(chat: OneChat, at: ForkAt, here: Here) -> Forked:
    """Make a new chat with everything up to and including a reply."""
    target = Chat(chat.owner, at.chat_id or uuid.uuid4().hex)
    made = await branch.fork(here.store, chat, at.run_id, target)
    return Forked(chat_id=target.id, title=made.title, message_count=len(made.messages))


@router.delete("/chat/{chat_id}", responses=answers(404, 503))
async def delete_chat(chat: OneChat, here: Here) -> Deleted:
    """Stop the reply if one is being made, and forget the chat."""
    await here.chats.delete(chat)
    return Deleted(chat_id=chat.id)


@router.get("/chats", responses=answers(503), response_model_exclude_unset=True)
async def list_chats(
    here: Here,
    of: Owner,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    q: Annotated[str, Query(max_length=200, description="Words to find in titles and messages")] = "",
) -> ChatsBody:
    """Chats, newest activity first; with `q` those that hold the words."""
    if words := " ".join(q.split()):
        hits = await here.store.finder.find(of, words, here.settings.memory_max_conversations)
        page = hits.found[offset : offset + limit]
        listed = [_row(here, hit.chat_id, hit.fields, hit.length, excerpt=hit.excerpt) for hit in page]
        return ChatsBody(chats=listed, count=len(hits.found), complete=hits.complete)
    rows, count = await here.store.shelf.listed(of, limit, offset)
    return ChatsBody(chats=[_row(here, *row) for row in rows], count=count)


def _row(here: Backend, chat_id: str, fields: dict[str, str], length: int, **more: str) -> ChatRow:
    return ChatRow(
        chat_id=chat_id,
        title=fields.get("title") or None,
        agent=fields.get("agent"),
        status=_status(fields, length),
        message_count=length,
        updated_at=_time(fields, "updated_at"),
        expires_at=_expiry(here, fields),
        **more,
    )


def check_length(message: str, settings: Settings) -> None:
    """Refuses a message that is longer than the settings allow."""
    if len(message) > settings.message_max_chars:
        detail = f"String should have at most {settings.message_max_chars} characters"
        raise RequestValidationError([{"loc": ("body", "message"), "msg": detail, "type": "string_too_long"}])


def stream(reading: Reading, form: Format) -> RunStream:
    """The answer that streams this reading."""
    headers = {"X-Run-Id": reading.feed.run_id, "X-Chat-Id": reading.feed.chat_id}
    frame = AgUi(reading.feed) if form == "ag-ui" else FRAMES[form]
    return RunStream(reading, frame, "text/event-stream; charset=utf-8", headers)


def _attached(reading: Reading | None, form: Format) -> Response:
    return stream(reading, form) if reading else Response(status_code=204)


def _status(fields: dict[str, str], messages: int) -> Status:
    if "run_id" in fields:
        return "running"
    return "active" if messages else "new"


def _time(fields: dict[str, str], field: str) -> str | None:
    return iso(int(fields[field])) if fields.get(field, "").isdigit() else None


def _expiry(here: Backend, fields: dict[str, str]) -> str | None:
    """When a chat with these fields is forgotten, if nothing happens in it; None: never, or it is none."""
    at_ms = here.store.memory.expires_ms(fields)
    return iso(at_ms) if at_ms else None
