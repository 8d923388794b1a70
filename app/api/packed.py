"""Files in the lines of an export: their bytes in base64, out and in again.

The newest files of a chat are in its own line, as many as any line may carry. The others follow it,
each in a line that names the chat by its id and, with `of`, by the SHA-256 of its line.
"""

import asyncio
import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.agents.sniff import MOST_SIDE
from app.api.bodies.fields import ChatId, FileId
from app.api.files import file_of, plain_name
from app.backend import Backend
from app.errors import InvalidFile, TooLarge
from app.store.filed import MOST_BYTES as MOST_FILE
from app.store.filed import Filed
from app.store.keys import Chat
from app.store.records import ChatState

MOST_PACKED = 9 * 1024 * 1024  # bytes of files in a line: so any line can be read in again


class Packed(BaseModel):
    """A file as a line has it; what it is, its bytes say."""

    file_id: FileId
    media_type: str = ""
    data: Annotated[str, Field(max_length=6 * 1024 * 1024, description="base64")]

    def unpacked(self) -> bytes:
        """Its bytes; none where they cannot be read."""
        try:
            return b64decode(self.data, validate=True)
        except (binascii.Error, ValueError):
            return b""


class Awaited(BaseModel):
    """A file whose bytes follow in another line, and what it is said to be."""

    file_id: FileId
    media_type: Literal[
        "image/png", "image/jpeg", "image/gif", "image/webp", "text/plain", "text/markdown", "text/csv"
    ]
    bytes: int = Field(ge=1, le=MOST_FILE)
    width: int | None = Field(None, ge=1, le=MOST_SIDE)
    height: int | None = Field(None, ge=1, le=MOST_SIDE)


class NamedFile(BaseModel):
    """A file as a message of a line names it."""

    file_id: FileId
    name: str = ""

    def entry(self, files: Mapping[str, Filed]) -> dict[str, Any]:
        """As it is kept."""
        file = files[self.file_id]
        return replace(file, name=plain_name(self.name, file.media_type)).entry()


class FilesIn(BaseModel):
    """A line with files of the chat whose line, anywhere before it, has this SHA-256."""

    chat_id: ChatId
    of: FileId
    files: list[Packed] = Field(min_length=1, max_length=100)


def shared_out(state: ChatState) -> tuple[list[Filed], list[Filed]]:
    """The files that a chat and its versions name, the newest first: those in its line, and those that
    follow it.
    """
    files, left = _newest(state), MOST_PACKED
    for at, file in enumerate(files):
        if (left := left - file.bytes) < 0:
            return files[:at], files[at:]
    return files, []


async def packed(
    here: Backend, chat: Chat, inside: Sequence[Filed], behind: Sequence[Filed]
) -> AsyncIterator[bytes]:
    """The member `files` of a line, behind its other members."""
    between = b',"files":['
    for file in inside:
        async for piece in _written(here, chat, file, between.decode()):
            yield piece
            between = b","
    for file in behind:
        told = file.entry()
        del told["name"]
        yield between + json.dumps(told, separators=(",", ":")).encode()
        between = b","
    if between == b",":
        yield b"]"


async def following(here: Backend, chat: Chat, of: str, files: Sequence[Filed]) -> AsyncIterator[bytes]:
    """The lines of these files."""
    for file in files:
        begun = False
        async for piece in _written(here, chat, file, f'{{"chat_id":"{chat.id}","of":"{of}","files":['):
            yield piece
            begun = True
        if begun:
            yield b"]}\n"


async def _written(here: Backend, chat: Chat, file: Filed, before: str) -> AsyncIterator[bytes]:
    """A file with its bytes, and what stands before it; nothing where it has gone."""
    begun = False
    async for piece in here.store.files.pieces(chat, file):
        if not begun:
            yield f'{before}{{"file_id":"{file.file_id}","media_type":"{file.media_type}","data":"'.encode()
        begun = True
        yield b64encode(piece)
    if begun:
        yield b'"}'


def _newest(state: ChatState) -> list[Filed]:
    """What the chat names, each once; then what only its versions name."""
    named: dict[str, dict[str, Any]] = {}
    for file in (file for one in state.newest_first() for file in one.files or ()):
        named.setdefault(file["file_id"], file)
    return [Filed.read(file) for file in named.values()]


async def checked(here: Backend, files: Sequence[Packed | Awaited]) -> dict[str, Filed]:
    """Those of these files that are what they say, and may be kept; and those that follow."""
    said = {one.file_id: Filed(**one.model_dump(), name="") for one in files if isinstance(one, Awaited)}
    brought = [one for one in files if isinstance(one, Packed)]
    return said | await asyncio.to_thread(_sound_ones, brought, here.settings.file_max_kb * 1024)


def _sound_ones(files: Sequence[Packed], most_picture: int) -> dict[str, Filed]:
    found = {}
    for one in files:
        try:
            file = file_of(one.unpacked(), one.media_type, most_picture)
        except (InvalidFile, TooLarge):
            continue
        if file.file_id == one.file_id:
            found[file.file_id] = file
    return found


async def unpack(
    here: Backend, chat: Chat, files: Sequence[Packed | Awaited], known: Mapping[str, Filed]
) -> None:
    """Stores those of these files that are known and here. Raises `TooLarge`."""
    bodies = {one.file_id: one for one in files if isinstance(one, Packed)}

    async def bytes_here(file: Filed) -> bytes:
        return bodies[file.file_id].unpacked()

    await here.store.files.put_all(chat, [one for one in known.values() if one.file_id in bodies], bytes_here)
