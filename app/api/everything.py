"""Chats as files: one to read, all of a key as one file of JSON lines, out and in again."""

import asyncio
import hashlib
import re
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import ValidationError

from app.api.bodies.archive import BadLine, ChatIn, Imported, PutIn, milliseconds
from app.api.bodies.chats import Exported
from app.api.bodies.messages import with_versions
from app.api.here import Here, OneChat
from app.api.keys import Owner
from app.api.packed import Awaited, FilesIn, Packed, checked, following, packed, shared_out, unpack
from app.api.problems import answers
from app.backend import Backend
from app.chat.export import markdown
from app.errors import NotFound, RedisUnavailable, TooLarge
from app.events import iso
from app.store.archive import one_line
from app.store.filed import Filed
from app.store.keys import Chat
from app.store.lines import temperature_of
from app.store.records import ChatState

router = APIRouter(prefix="/api/v1", tags=["chats"])

LINES = "application/x-ndjson"
MOST_LINES = 10_000
MOST_VALUES = (
    3_000_000  # in a line; all that a chat may hold is smaller, and each costs fifty times its bytes
)
_FOLLOWS = re.compile(rb'"of"\s*:')  # of a line with files alone


class Lines(StreamingResponse):
    """A file of JSON lines."""

    media_type = LINES


_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ChatIn | FilesIn,
        "description": "A line for each chat; behind it those of its files that have no room in it",
    }
}


@router.get("/export", response_class=Lines, responses=_FILE | answers(503))
async def export_everything(here: Here, of: Owner) -> Response:
    """All your chats as one file, a line of JSON for each; the oldest activity first."""
    ids = await here.store.archive.all_ids(of)
    headers = {"Content-Disposition": 'attachment; filename="chats.jsonl"', "Cache-Control": "no-store"}
    return Lines(_exported(here, of, ids), headers=headers)


async def _exported(here: Backend, of: str, ids: list[str]) -> AsyncIterator[bytes]:
    """One chat at a time. One that cannot be read tears the file, so that nobody takes it for whole."""
    for chat_id in ids:
        chat = Chat(of, chat_id)
        try:
            state = await here.store.memory.read(chat)
        except NotFound:  # it changes faster than it can be read
            await asyncio.sleep(0.1)
            state = await here.store.memory.read(chat)
        if state.messages:
            async for piece in lines_of(here, chat, state):
                yield piece


async def lines_of(here: Backend, chat: Chat, state: ChatState) -> AsyncIterator[bytes]:
    """A chat as lines of the file: its own, and those of the files that it cannot carry."""
    inside, behind = shared_out(state)
    digest = hashlib.sha256(begun := one_line(_told_chat(chat.id, state)).removesuffix(b"}\n"))
    yield begun
    async for piece in packed(here, chat, inside, behind):
        digest.update(piece)
        yield piece
    digest.update(b"}")
    yield b"}\n"
    async for piece in following(here, chat, digest.hexdigest(), behind):
        yield piece


def _told_chat(chat_id: str, state: ChatState) -> dict[str, Any]:
    """What the file says of a chat; what is not set is left out."""
    fields = state.fields
    told: dict[str, Any] = {"chat_id": chat_id, "title": fields.get("title"), "agent": fields.get("agent")}
    times = {name: fields.get(name, "") for name in ("created_at", "updated_at")}
    told |= {name: iso(int(at) if at.isascii() and at.isdigit() else 0) for name, at in times.items()}
    if "named" in fields:
        told["named"] = True
    if "chosen" in fields:
        told["chosen_agent"] = fields["chosen"]
    if "instructions" in fields:
        told["instructions"] = fields["instructions"]
    if (warmth := temperature_of(fields.get("temperature"))) is not None:
        told["temperature"] = warmth
    messages = [body.model_dump(exclude_unset=True) for body in with_versions(state)]
    return told | {"messages": messages}


@router.get("/chat/{chat_id}/export", response_class=Response, responses=answers(404, 503))
async def export_chat(
    chat: OneChat, here: Here, format: Annotated[Literal["markdown", "json", "jsonl"], Query()] = "markdown"
) -> Response:
    """A chat as a file: to read, as data, or with its files as the lines that an import takes."""
    state = await here.store.memory.read(chat)
    if not state.fields:
        raise NotFound("There is no such chat.")
    named = f'attachment; filename="{chat.id}.{"md" if format == "markdown" else format}"'
    headers = {"Content-Disposition": named, "Cache-Control": "no-store"}
    if format == "markdown":
        return PlainTextResponse(markdown(state), headers=headers, media_type="text/markdown")
    if format == "jsonl":
        return Lines(lines_of(here, chat, state), headers=headers)
    body = Exported(chat_id=chat.id, title=state.fields.get("title"), messages=with_versions(state))
    written = body.model_dump_json(indent=2, exclude_unset=True)
    return Response(written, headers=headers, media_type="application/json")


@router.post("/import", responses=answers(413, 503))
async def import_everything(request: Request, here: Here, of: Owner) -> Imported:
    """Put in chats from a file as the export makes it; a bad line is told and the others go in."""
    done = Imported(imported=0, failed=0, chats=[], errors=[])
    for number, line in enumerate((await request.body()).removeprefix(BOM_UTF8).split(b"\n", MOST_LINES), 1):
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
        except (TooLarge, NotFound) as error:
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
    """Raises `ValidationError`, `TooLarge`, `NotFound`, `RedisUnavailable`."""
    if sum(map(line.count, (b"[", b"{", b","))) > MOST_VALUES:
        raise TooLarge("It holds more than a chat may.")
    if b'"messages"' not in line and _FOLLOWS.search(line):
        return await _take_files(here, of, FilesIn.model_validate_json(line))
    one = ChatIn.model_validate_json(line)
    known = await checked(here, one.files)
    chat = await _put_in(here, of, one, known, hashlib.sha256(line).hexdigest())
    done.chats.append(PutIn(line=number, chat_id=chat.id))
    return await _unpack(here, chat, one.files, known)


async def _take_files(here: Backend, of: str, one: FilesIn) -> None:
    """Raises `TooLarge`, `NotFound`, `RedisUnavailable`."""
    known = await checked(here, one.files)
    chat = await here.store.archive.brought(Chat(of, one.chat_id), one.of)
    if chat is None:
        raise NotFound("The chat of these files is not here. Its line comes before theirs.")
    await _unpack(here, chat, one.files, known)
    if len(known) < len(one.files):
        raise NotFound("A file of this line is not what it says, and was left out.")


async def _unpack(
    here: Backend, chat: Chat, files: Sequence[Packed | Awaited], known: Mapping[str, Filed]
) -> None:
    try:
        await unpack(here, chat, files, known)
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
