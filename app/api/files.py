"""Files of a chat: sent first, named by a message afterwards, and got back as an attachment."""

import asyncio
import hashlib
import unicodedata
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from app.agents.sniff import kind_of
from app.api.bodies.fields import FileId
from app.api.bodies.messages import FileBody, Removed
from app.api.here import Here, OneChat
from app.api.problems import answers
from app.chat import branch
from app.errors import NotFound
from app.store.filed import Filed
from app.store.files import NO_FILE

router = APIRouter(prefix="/api/v1", tags=["files"])

MOST_NAME = 100
_AS_IT_IS: dict[str, Any] = {"content": {"application/octet-stream": {"schema": {"format": "binary"}}}}
_ATTACHMENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"text/*": {}, "image/*": {}}}
}


@router.post(
    "/chat/{chat_id}/files",
    status_code=201,
    responses=answers(413, 503),
    response_model_exclude_unset=True,
    openapi_extra={"requestBody": {"required": True, **_AS_IT_IS}},
)
async def send_file(
    chat: OneChat,
    request: Request,
    here: Here,
    content_type: Annotated[str, Header()] = "",
    x_file_name: Annotated[str, Header(description="Percent-encoded where it is not ASCII")] = "",
) -> FileBody:
    """Send a picture or a text to a chat, for a message to name."""
    body = await request.body()
    most = here.settings.file_max_kb * 1024
    name = unquote_to_bytes(x_file_name.encode("latin-1", "replace")).decode("utf-8", "replace")
    file = await asyncio.to_thread(file_of, body, content_type, most, name)
    await here.store.files.put(chat, file, body)
    return FileBody(**file.entry())


@router.get(
    "/chat/{chat_id}/files/{file_id}", response_class=Response, responses=_ATTACHMENT | answers(404, 503)
)
async def read_file(chat: OneChat, file_id: Annotated[FileId, Path()], here: Here) -> Response:
    """A file of a chat, as an attachment that can run nothing."""
    (file,) = await here.store.files.look_up(chat, [file_id])
    named = f"attachment; filename=\"{_ascii(file.name)}\"; filename*=UTF-8''{quote(file.name)}"
    charset = "; charset=utf-8" if file.media_type.startswith("text/") else ""
    headers = {
        "Content-Type": f"{file.media_type}{charset}",
        "Content-Length": str(file.bytes),
        "Content-Disposition": named,
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-store",
    }
    pieces = here.store.files.pieces(chat, file)
    if (first := await anext(pieces, None)) is None:  # it has gone meanwhile
        raise NotFound(NO_FILE)
    return StreamingResponse(_all_of(first, pieces), headers=headers)


@router.delete("/chat/{chat_id}/files/{file_id}", responses=answers(404, 409, 503))
async def remove_file(chat: OneChat, file_id: Annotated[FileId, Path()], here: Here) -> Removed:
    """Take out a file that was sent and that no message names."""
    await branch.remove_file(here.store, chat, file_id)
    return Removed(chat_id=chat.id, file_id=file_id)


async def _all_of(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def file_of(body: bytes, content_type: str, most_picture: int, name: str = "") -> Filed:
    """What these bytes are; their id follows from them. Raises `InvalidFile`, `TooLarge`."""
    kind = kind_of(body, content_type, most_picture)
    size = (kind.width, kind.height) if kind.width else (None, None)
    file_id = hashlib.sha256(body).hexdigest()
    return Filed(file_id, kind.media_type, len(body), plain_name(name, kind.media_type), *size)


def plain_name(told: str, media_type: str) -> str:
    """The last part of a name, without what does not show; one of ours for none."""
    last = told.replace("\\", "/").rpartition("/")[2]
    shown = "".join(" " if unicodedata.category(one)[0] in "CZ" else one for one in last)
    name = " ".join(shown.split()).strip(". ")
    kind, _, form = media_type.partition("/")
    endings = {"plain": "txt", "markdown": "md"}
    return name[:MOST_NAME] or f"{'picture' if kind == 'image' else 'text'}.{endings.get(form, form)}"


def _ascii(name: str) -> str:
    return "".join(one if one.isascii() and one not in '"\\%' else "_" for one in name)
