"""Files in the lines of an export: their bytes in base64, out and in again."""

import asyncio
import binascii
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, Field

from app.api.bodies.fields import FileId
from app.api.files import file_of, plain_name
from app.backend import Backend
from app.errors import InvalidFile, TooLarge
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


class NamedFile(BaseModel):
    """A file as a message of a line names it."""

    file_id: FileId
    name: str = ""

    def entry(self, files: Mapping[str, Filed]) -> dict[str, Any]:
        """As it is kept."""
        file = files[self.file_id]
        return replace(file, name=plain_name(self.name, file.media_type)).entry()


async def packed(here: Backend, chat: Chat, state: ChatState) -> AsyncIterator[bytes]:
    """The member `files` of a line, behind its other members: the newest that fit."""
    between, left = b',"files":[', MOST_PACKED
    for file in _newest(state):
        if (left := left - file.bytes) < 0:
            break
        about = f'{{"file_id":"{file.file_id}","media_type":"{file.media_type}","data":"'
        first = True
        async for piece in here.store.files.pieces(chat, file):
            yield (between + about.encode() if first else b"") + b64encode(piece)
            first = False
        if not first:
            yield b'"}'
            between = b","
    if between == b",":
        yield b"]"


def _newest(state: ChatState) -> list[Filed]:
    """What the chat names, each once; then what only its versions name."""
    older = [version.messages for versions in state.versions.values() for version in versions]
    messages = [one for part in (state.messages, *reversed(older)) for one in reversed(part)]
    named: dict[str, dict[str, Any]] = {}
    for file in (file for one in messages for file in one.files or ()):
        named.setdefault(file["file_id"], file)
    return [Filed.read(file) for file in named.values()]


async def checked(here: Backend, files: Sequence[Packed]) -> dict[str, Filed]:
    """Those of these files that are what they say, and may be kept."""
    return await asyncio.to_thread(_sound_ones, files, here.settings.file_max_kb * 1024)


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


async def unpack(here: Backend, chat: Chat, files: Sequence[Packed], known: Mapping[str, Filed]) -> None:
    """Stores these files, those that are known. Raises `TooLarge`."""
    bodies = {one.file_id: one for one in files}

    async def bytes_here(file: Filed) -> bytes:
        return bodies[file.file_id].unpacked()

    await here.store.files.put_all(chat, [*known.values()], bytes_here)
