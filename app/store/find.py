"""Finds words in the titles and messages of an owner's chats.

It reads as long as it may and says whether that was everything.

A chat's messages are searched as they lie in Redis, in JSON; only where the words are found is a
message decoded. Between two slices the loop has its turn.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from app.store.keys import Chat, index
from app.store.lines import as_text
from app.store.records import Message
from app.store.wire.connection import Connection
from app.store.wire.script import command

SECONDS = 0.3
TITLES_AT_ONCE = 100
CHATS_AT_ONCE = 8  # at most so many times what one chat may weigh is in memory
SLICE = 64 * 1024  # bytes searched in one turn of the loop
BEFORE, AFTER = 50, 110  # characters of an excerpt around what was found


@dataclass(frozen=True, slots=True)
class Hit:
    """A chat in which the words were found; `fields` is its hash, `length` the number of its messages."""

    chat_id: str
    fields: dict[str, str]
    length: int
    excerpt: str


@dataclass(slots=True)
class Hits:
    """Titles first, then messages, each newest activity first. `complete`: everything was read."""

    found: list[Hit] = field(default_factory=list)
    complete: bool = True


class Finder:
    """Searches the chats of one owner. Raises `RedisUnavailable`."""

    def __init__(self, connection: Connection) -> None:
        self._redis = connection

    async def find(self, owner: str, words: str, most: int, seconds: float = SECONDS) -> Hits:
        """Chats whose title or messages hold these words, case-folded, among the newest `most`."""
        until, hits, needle = time.monotonic() + seconds, Hits(), words.casefold()
        others: list[Hit] = []
        async for hit in self._described(owner, most):
            title = hit.fields.get("title", "")
            (hits.found if needle in title.casefold() else others).append(hit)
        for first in range(0, len(others), CHATS_AT_ONCE):
            if time.monotonic() > until:
                hits.complete = False
                break
            page = others[first : first + CHATS_AT_ONCE]
            rows = await self._redis.do_all(
                [command("LRANGE", Chat(owner, hit.chat_id).messages, 0, -1) for hit in page], check=False
            )
            for hit, lines in zip(page, rows, strict=True):
                if isinstance(lines, list) and (excerpt := await _search(lines, needle, until)):
                    hits.found.append(Hit(hit.chat_id, hit.fields, hit.length, excerpt))
        return hits

    async def _described(self, owner: str, most: int) -> AsyncIterator[Hit]:
        """Every chat, newest first; its title stands for the excerpt."""
        for first in range(0, most, TITLES_AT_ONCE):
            last = min(first + TITLES_AT_ONCE, most) - 1
            ids = await self._redis.do(command("ZREVRANGE", index(owner), first, last))
            chats = [Chat(owner, as_text(one)) for one in ids]
            asked = []
            for chat in chats:
                asked += [command("HMGET", chat.key, *_FIELDS), command("LLEN", chat.messages)]
            rows = await self._redis.do_all(asked, check=False)
            for chat, values, length in zip(chats, rows[::2], rows[1::2], strict=True):
                if isinstance(values, list) and isinstance(length, int) and any(values):
                    fields = _fields(values)
                    yield Hit(chat.id, fields, length, fields.get("title", ""))
            if len(ids) < TITLES_AT_ONCE:
                return


_FIELDS = ("title", "agent", "updated_at", "run_id")


def _fields(values: Sequence[bytes | None]) -> dict[str, str]:
    told = zip(_FIELDS, values, strict=True)
    return {name: as_text(value) for name, value in told if value is not None}


async def _search(lines: list[bytes], needle: str, until: float) -> str | None:
    """What stands around the newest message that holds the needle; None when none does."""
    raw = json.dumps(needle, ensure_ascii=False)[1:-1]
    for piece in _slices(lines):
        await asyncio.sleep(0)
        for line in _lines_with(piece, raw):
            if excerpt := _excerpt(line, needle):
                return excerpt
        if time.monotonic() > until:
            return None
    return None


def _slices(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Lines of about `SLICE` bytes together, the newest first; a longer line is a slice of its own."""
    piece: list[bytes] = []
    size = 0
    for line in reversed(lines):
        if piece and size + len(line) > SLICE:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield piece


def _lines_with(piece: list[bytes], needle: str) -> Iterator[bytes]:
    """The lines that hold the needle."""
    text = b"\n".join(piece)
    folded: bytes | str = text.lower() if text.isascii() else text.decode("utf-8", "replace").casefold()
    sought: bytes | str = needle.encode() if isinstance(folded, bytes) else needle
    feed: bytes | str = b"\n" if isinstance(folded, bytes) else "\n"
    if sought not in folded:  # type: ignore[operator]  # both of one kind
        return
    for line, original in zip(folded.split(feed), piece, strict=False):  # type: ignore[arg-type]  # both of one kind
        if sought in line:
            yield original


def _excerpt(line: bytes, needle: str) -> str | None:
    try:
        content = Message.read(line).content
    except (ValueError, TypeError):
        return None
    at = content.casefold().find(needle)
    if at < 0:
        return None
    start, end = max(0, at - BEFORE), at + len(needle) + AFTER
    words = " ".join(content[start:end].split())
    return f"{'…' if start else ''}{words}{'…' if end < len(content) else ''}"
