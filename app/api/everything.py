"""All chats of a key as one file of JSON lines, out and in again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, ValidationError

from app.api.bodies.fields import AgentName, ChatId, RunId
from app.api.bodies.messages import MessageBody
from app.api.here import Here
from app.api.keys import Owner
from app.api.problems import answers
from app.backend import Backend
from app.errors import NotFound, RedisUnavailable
from app.events import iso
from app.store.archive import one_line
from app.store.keys import Chat
from app.store.records import Message

router = APIRouter(prefix="/api/v1", tags=["chats"])

LINES = "application/x-ndjson"
MOST_LINES = 10_000
_KEPT = {one.name for one in fields(Message)} - {"role", "content", "created_ms", "run_id"}


def _sound(text: str) -> str:
    text.encode()  # a lone surrogate cannot be kept
    return text


Words = Annotated[str, AfterValidator(_sound)]


class MessageIn(BaseModel, extra="allow"):
    """A message as the file has it."""

    role: Literal["user", "assistant"]
    content: Annotated[Words, Field(max_length=1_000_000)]
    created_at: AwareDatetime
    run_id: RunId | None = None
    outcome: Literal["done", "stopped", "failed"] | None = None
    facts: dict[str, Any] | None = None

    def message(self) -> Message:
        """As it is kept."""
        told = self.model_dump(include=_KEPT)
        return Message(self.role, self.content, _ms(self.created_at), self.run_id, **told)


class ChatIn(BaseModel):
    """A chat as a line of the file has it."""

    chat_id: ChatId
    title: Annotated[Words, Field(max_length=200)] | None = None
    agent: AgentName | None = None
    created_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    messages: list[MessageIn] = Field(min_length=1, max_length=10_000)


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


class Lines(StreamingResponse):
    """A file of JSON lines."""

    media_type = LINES


_FILE: dict[int | str, dict[str, Any]] = {200: {"model": ChatIn, "description": "A line for each chat"}}


@router.get("/export", response_class=Lines, responses=_FILE | answers(503))
async def export_everything(here: Here, of: Owner) -> Response:
    """All your chats as one file, a line of JSON for each; the oldest activity first."""
    ids = await here.store.archive.all_ids(of)
    headers = {"Content-Disposition": 'attachment; filename="chats.jsonl"', "Cache-Control": "no-store"}
    return Lines(_exported(here, of, ids), headers=headers)


async def _exported(here: Backend, of: str, ids: list[str]) -> AsyncIterator[bytes]:
    """One chat at a time. One that cannot be read tears the file, so that nobody takes it for whole."""
    for chat_id in ids:
        try:
            state = await here.store.memory.read(Chat(of, chat_id))
        except NotFound:  # it changes faster than it can be read
            await asyncio.sleep(0.1)
            state = await here.store.memory.read(Chat(of, chat_id))
        if not state.messages:
            continue
        times = {name: iso(int(state.fields.get(name) or 0)) for name in ("created_at", "updated_at")}
        told = [MessageBody.of(message).model_dump(exclude_unset=True) for message in state.messages]
        about = {"chat_id": chat_id, "title": state.fields.get("title"), "agent": state.fields.get("agent")}
        yield one_line({**about, **times, "messages": told})


@router.post("/import", responses=answers(413, 503))
async def import_everything(request: Request, here: Here, of: Owner) -> Imported:
    """Put in chats from a file as the export makes it; a bad line is told and the others go in."""
    done = Imported(imported=0, failed=0, chats=[], errors=[])
    for number, line in enumerate((await request.body()).split(b"\n"), 1):
        if not line.strip():
            continue
        if number > MOST_LINES:
            done.errors.append(BadLine(line=number, detail=f"At most {MOST_LINES} lines go in at once."))
            break
        if not here.settings.enable_memory:
            done.errors.append(BadLine(line=number, detail="This server keeps no chats."))
            break
        try:
            one = ChatIn.model_validate_json(line)
            chat = await _put_in(here, of, one)
            done.chats.append(PutIn(line=number, chat_id=chat.id))
        except ValidationError as error:
            done.errors.append(BadLine(line=number, detail=_mistake(error)))
        except RedisUnavailable as error:
            if not done.chats:
                raise
            done.errors.append(BadLine(line=number, detail=error.detail))
        await asyncio.sleep(0)
    done.imported, done.failed = len(done.chats), len(done.errors)
    await here.store.shelf.evict(of)
    return done


async def _put_in(here: Backend, of: str, one: ChatIn) -> Chat:
    messages = [message.message() for message in one.messages]
    created = _ms(one.created_at) if one.created_at else messages[0].created_ms
    updated = _ms(one.updated_at) if one.updated_at else messages[-1].created_ms
    title = " ".join((one.title or "").split())
    times = (created, updated)
    return await here.store.archive.put_in(
        Chat(of, one.chat_id), title, one.agent or "general", times, messages
    )


def _ms(at: datetime) -> int:
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return max(0, since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000)


def _mistake(error: ValidationError) -> str:
    """The first mistake and where it is; nothing of what was sent."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:40] for part in first["loc"]) or "line"
    return f"{where}: {first['msg']}"
