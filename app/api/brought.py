"""The pictures of a conversation that a client brings, as `data:` URLs; no other URL is ever asked."""

import asyncio
import binascii
import re
from base64 import b64decode
from collections.abc import Iterable

from app.api.doors import USER, Part, words
from app.api.files import file_of
from app.backend import Backend
from app.errors import InvalidFile, NoVision, Unsupported
from app.store.filed import Filed
from app.store.keys import Chat
from app.store.records import Message

MOST = 4  # in a message
_DATA = re.compile(r"data:([a-z0-9.+/-]*)(?:;[a-z0-9-]+=[^;,]*)*;base64,", re.IGNORECASE)

Content = str | list[Part] | None


class Brought:
    """The messages of a conversation, and the files that they name."""

    def __init__(self, said: Iterable[tuple[str, Content]], most_picture: int) -> None:
        self._most = most_picture
        self._bodies: dict[str, bytes] = {}
        self._files: dict[str, Filed] = {}
        self.messages = [self._message(role, content) for role, content in said]

    @classmethod
    async def read(cls, said: Iterable[tuple[str, Content]], here: Backend) -> "Brought":
        """Raises `Unsupported`, `InvalidFile`, `TooLarge`."""
        return await asyncio.to_thread(cls, said, here.settings.file_max_kb * 1024)

    async def put_in(self, chat: Chat, agent: str, here: Backend) -> None:
        """Stores the pictures where the reply will look for them. Raises `NoVision`, `TooLarge`."""

        async def bytes_here(file: Filed) -> bytes:
            return self._bodies[file.file_id]

        if self._files:
            if self.messages[-1].files and not await here.answerer.sees(agent):
                raise NoVision
            await here.store.files.put_all(chat, [*self._files.values()], bytes_here)

    def _message(self, role: str, content: Content) -> Message:
        pictures = [part for part in content if part.is_picture] if isinstance(content, list) else []
        if len(pictures) > MOST or (pictures and role != USER):
            told = f"Pictures come in messages of the user, up to {MOST} in each."
            raise Unsupported(told, param="messages")
        files = {file.file_id: file for file in map(self._file, pictures)}
        return Message(role, words(content), files=[file.entry() for file in files.values()] or None)

    def _file(self, part: Part) -> Filed:
        url = part.image_url.get("url") if isinstance(part.image_url, dict) else part.image_url
        found = _DATA.match(url) if isinstance(url, str) else None
        if not (isinstance(url, str) and found):
            raise Unsupported("A picture must come as a data: URL in base64.", param="messages")
        try:
            body = b64decode(url[found.end() :], validate=True)
        except (binascii.Error, ValueError):
            raise InvalidFile("The base64 of a picture cannot be read.") from None
        file = file_of(body, found[1] or "image/png", self._most)
        if not file.media_type.startswith("image/"):
            raise InvalidFile("What calls itself a picture is none.")
        self._bodies[file.file_id], self._files[file.file_id] = body, file
        return file
