"""All chats of a key as one file of JSON lines, out and in again."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from app.api.bodies.archive import BadLine, ChatIn, Imported, PutIn, milliseconds
from app.api.bodies.messages import with_versions
from app.api.here import Here
from app.api.keys import Owner
from app.api.packed import checked, packed, unpack
from app.api.problems import answers
from app.backend import Backend
from app.errors import NotFound, RedisUnavailable, TooLarge
from app.events import iso
from app.store.archive import one_line
from app.store.filed import Filed
from app.store.keys import Chat
from app.store.records import ChatState

router = APIRouter(prefix="/api/v1", tags=["chats"])

LINES = "application/x-ndjson"
MOST_LINES = 10_000
MOST_VALUES = (
    3_000_000  # in a line; all that a chat may hold is smaller, and each costs fifty times its bytes
)


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
        yield one_line(_told_chat(chat_id, state)).removesuffix(b"}\n")
        async for piece in packed(here, Chat(of, chat_id), state):
            yield piece
        yield b"}\n"


def _told_chat(chat_id: str, state: ChatState) -> dict[str, Any]:
    """What the file says of a chat; what is not set is left out."""
    fields = state.fields
    told: dict[str, Any] = {"chat_id": chat_id, "title": fields.get("title"), "agent": fields.get("agent")}
    told |= {name: iso(int(fields.get(name) or 0)) for name in ("created_at", "updated_at")}
    if "named" in fields:
        told["named"] = True
    if "chosen" in fields:
        told["chosen_agent"] = fields["chosen"]
    if "instructions" in fields:
        told["instructions"] = fields["instructions"]
    if "temperature" in fields:
        told["temperature"] = float(fields["temperature"])
    messages = [body.model_dump(exclude_unset=True) for body in with_versions(state)]
    return told | {"messages": messages}


@router.post("/import", responses=answers(413, 503))
async def import_everything(request: Request, here: Here, of: Owner) -> Imported:
    """Put in chats from a file as the export makes it; a bad line is told and the others go in."""
    done = Imported(imported=0, failed=0, chats=[], errors=[])
    for number, line in enumerate((await request.body()).split(b"\n", MOST_LINES), 1):
        if not line.strip():
            continue
        if number > MOST_LINES:
            done.errors.append(BadLine(line=number, detail=f"At most {MOST_LINES} lines go in at once."))
            break
        if not here.settings.enable_memory:
            done.errors.append(BadLine(line=number, detail="This server keeps no chats."))
            break
        try:
            await _take_in(here, of, number, line, done)
        except ValidationError as error:
            done.errors.append(BadLine(line=number, detail=_mistake(error)))
        except TooLarge as error:
            done.errors.append(BadLine(line=number, detail=error.detail))
        except RedisUnavailable as error:
            if not done.chats:
                raise
            done.errors.append(BadLine(line=number, detail=f"{error.detail} What is behind it was left."))
            break
        await asyncio.sleep(0)
    done.imported, done.failed = len(done.chats), len(done.errors)
    await here.store.shelf.evict(of)
    return done


async def _take_in(here: Backend, of: str, number: int, line: bytes, done: Imported) -> None:
    """Raises `ValidationError`, `TooLarge`, `RedisUnavailable`."""
    if sum(map(line.count, (b"[", b"{", b","))) > MOST_VALUES:
        raise TooLarge("It holds more than a chat may.")
    one = ChatIn.model_validate_json(line)
    known = await checked(here, one.files)
    chat = await _put_in(here, of, one, known, hashlib.sha256(line).hexdigest())
    done.chats.append(PutIn(line=number, chat_id=chat.id))
    try:
        await unpack(here, chat, one.files, known)
    except TooLarge as error:
        raise TooLarge(f"Its files were left out: {error.detail}") from error


async def _put_in(here: Backend, of: str, one: ChatIn, known: Mapping[str, Filed], token: str) -> Chat:
    updated = milliseconds(one.updated_at or one.messages[-1].created_at)
    told = [message.as_kept(known) for message in one.messages]
    return await here.store.archive.put_in(Chat(of, one.chat_id), one.fields(), updated, told, token)


def _mistake(error: ValidationError) -> str:
    """The first mistake and where it is; nothing of what was sent."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:40] for part in first["loc"]) or "line"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"
