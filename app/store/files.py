"""The files of chats: their bytes, in pieces, and what is known of them.

A chat's files are one hash, which lives and dies with the chat: `<file id>` -> `<token> <JSON>`,
`<file id>:<n>` -> a piece of its bytes, `:count`, `:bytes`. Room for them is taken before they are
stored, see `weights`.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from app.errors import NotFound, TooLarge
from app.store.filed import Filed
from app.store.keys import Chat
from app.store.pieces import LOOSE_SECONDS, NUMBERS
from app.store.shelf import GONE_MS
from app.store.weights import Weights
from app.store.wire.connection import Connection
from app.store.wire.script import Command, Script, command

PIECE = 48 * 1024  # a multiple of 3, so that each piece is whole in base64
LEAST_WEIGHT = 4096  # what a small file counts, so that there are not too many of them
MOST_FILES = 100  # in a chat
AT_ONCE = 2  # files on their way to or from Redis: what their bytes hold here and there is bounded

Load = Callable[[Filed], Awaitable[bytes | None]]

_TOO_MANY = f"A chat may have up to {MOST_FILES} files. Begin a new chat."
NO_FILE = "There is no such file in this chat. Send it there first."

# stores a file: `put`, `known` when the chat has it already, or `full`. The tail: its pieces. Where
# nothing runs it lives as long as a chat at rest, `loose` seconds where there is no such chat
PUT = Script(
    NUMBERS
    + """
local known = redis.call('HGET', files, file_id)
if not known then
  if number(files, ':count') >= tonumber(most) then return 'full' end
  for n = tail, #ARGV do
    redis.call('HSET', files, file_id .. ':' .. string.format('%d', n - tail), ARGV[n])
  end
  add(files, ':count', 1)
  add(files, ':bytes', weight)
end
local by = known and string.match(known, '^%S+') or token
redis.call('HSET', files, file_id, by .. ' ' .. about)
local at = redis.call('HMGET', chat, 'run_id', 'updated_at')
if at[1] or (at[2] and tonumber(life) == 0) then
  redis.call('PERSIST', files)
else
  redis.call('EXPIRE', files, tonumber(life) > 0 and life or loose)
end
return by == token and 'put' or 'known'
""",
    keys="chat files",
    args="file_id token about weight most life loose",
    tail=True,
    lasting=True,
)


# takes out a file that none of the first `read` messages ever names, nor a version, while `version` is
# the newest, and no message behind them either: `gone`, `used`, `unknown`, or `moved` when a version has
# been made since. A second time with the same token it finds that done
REMOVE = Script(
    NUMBERS
    + """
local about = redis.call('HGET', files, file_id)
if not about then return redis.call('GET', gone) == token and 'gone' or 'unknown' end
if (redis.call('HGET', chat, 'version') or '') ~= version then return 'moved' end
local new = math.max(0, read - number(chat, 'first'))
for key, from in pairs({[messages] = new, [queue] = 0, [unsent] = 0}) do
  for _, line in ipairs(redis.call('LRANGE', key, from, -1)) do
    if string.find(line, file_id, 1, true) then return 'used' end
  end
end
redis.call('HDEL', files, file_id)
for n = 0, pieces - 1 do redis.call('HDEL', files, file_id .. ':' .. string.format('%d', n)) end
add(files, ':count', -1)
add(files, ':bytes', -weight)
if number(files, ':count') < 1 then redis.call('UNLINK', files) end
redis.call('SET', gone, token, 'PX', gone_ms)
return 'gone'
""",
    keys="chat messages queue unsent files gone",
    args="file_id version read pieces weight token gone_ms",
)


class Files:
    """Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, weights: Weights, life: int) -> None:
        self._redis = connection
        self._weights = weights
        self._life = life
        self._busy = asyncio.Semaphore(AT_ONCE)

    async def put(self, chat: Chat, file: Filed, body: bytes) -> None:
        """Stores a file in a chat, which need not exist yet. Raises `TooLarge` where there is no room."""
        token = uuid.uuid4().hex
        async with self._busy:
            try:
                before = await self._weights.reserve(chat, _weight(file), token)
            except TooLarge:
                if await self._redis.do(command("HEXISTS", chat.files, file.file_id)):
                    return
                raise
            answer = await self._redis.do(self._putting(chat, file, body, token))
        if answer != b"put":
            await self._weights.put_right(chat.owner, [before])
        else:
            await self._weights.count_rest([chat])
        if answer == b"full":
            raise TooLarge(_TOO_MANY)

    def _putting(self, chat: Chat, file: Filed, body: bytes, token: str) -> Command:
        return PUT(
            *(body[at : at + PIECE] for at in range(0, len(body), PIECE)),
            chat=chat.key, files=chat.files, file_id=file.file_id, token=token,
            about=json.dumps(file.entry()), weight=_weight(file), most=MOST_FILES, life=self._life,
            loose=LOOSE_SECONDS,
        )  # fmt: skip

    async def put_all(self, chat: Chat, files: Sequence[Filed], load: Load) -> None:
        """Stores those of these files that are not in the chat yet, all or none; `load` reads them.

        Raises `TooLarge`.
        """
        if not files:
            return
        rows = await self._redis.do(command("HMGET", chat.files, *(file.file_id for file in files)))
        missing = [file for file, row in zip(files, rows, strict=True) if row is None]
        if not missing:
            return
        if len(missing) > MOST_FILES:
            raise TooLarge(_TOO_MANY)
        token, answers = uuid.uuid4().hex, list[bytes]()
        before = await self._weights.reserve(chat, sum(map(_weight, missing)), token)
        for file in missing:
            body = await load(file)
            answers.append(
                b"gone" if body is None else await self._redis.do(self._putting(chat, file, body, token))
            )
        if {*answers} != {b"put"}:
            await self._weights.put_right(chat.owner, [before])
        await self._weights.count_rest([chat])
        if b"full" in answers:
            raise TooLarge(_TOO_MANY)

    async def copy(self, source: Chat, target: Chat, files: Sequence[Filed]) -> None:
        """Puts these files into another chat of the same owner, all or none. Raises `TooLarge`."""
        await self.put_all(target, files, lambda file: self.bytes_of(source, file.file_id, file.bytes))

    async def look_up(self, chat: Chat, file_ids: Sequence[str]) -> list[Filed]:
        """The files with these ids, in order. Raises `NotFound` when one of them is not in this chat."""
        rows = await self._redis.do(command("HMGET", chat.files, *file_ids)) if file_ids else []
        return [_filed(row) for row in rows]

    async def bytes_of(self, chat: Chat, file_id: str, length: int) -> bytes | None:
        """The bytes of a file of this length, if they are there."""
        fields = [f"{file_id}:{n}" for n in range(-(-length // PIECE))]
        async with self._busy:
            pieces = await self._redis.do(command("HMGET", chat.files, *fields))
        body = b"".join(piece or b"" for piece in pieces)
        return body if len(body) == length else None

    async def remove(self, chat: Chat, file: Filed, version: str, read: int) -> str:
        """Takes out a file that no version names, while the newest is `version`, and none of the first
        `read` messages ever: `gone`, `unknown`, `moved`, or `used` where another message names it.
        """
        script = REMOVE(
            chat=chat.key, messages=chat.messages, queue=chat.queue, unsent=chat.unsent, files=chat.files,
            gone=chat.gone, file_id=file.file_id, version=version, read=read,
            pieces=-(-file.bytes // PIECE), weight=_weight(file), token=uuid.uuid4().hex, gone_ms=GONE_MS,
        )  # fmt: skip
        answer: bytes = await self._redis.do(script)
        if answer == b"gone":
            await self._weights.weigh_again(chat)
        return answer.decode()

    async def pieces(self, chat: Chat, file: Filed) -> AsyncIterator[bytes]:
        """Its bytes, for a reader who may be slow. One that goes meanwhile ends early."""
        for n in range(-(-file.bytes // PIECE)):
            piece = await self._redis.do(command("HGET", chat.files, f"{file.file_id}:{n}"))
            if piece is None:
                return
            yield piece


def _weight(file: Filed) -> int:
    return max(file.bytes, LEAST_WEIGHT)


def _filed(row: bytes | None) -> Filed:
    try:
        return Filed.read(json.loads((row or b"").partition(b" ")[2]))
    except (ValueError, TypeError):
        raise NotFound(NO_FILE) from None
