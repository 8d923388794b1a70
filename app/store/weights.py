"""What the files of an owner's chats weigh together: one hash, `<chat id>` -> `<bytes> <milliseconds>
<token>`, and `:total`. Knows no file.

Room is taken before bytes are stored, so that no number of them at once goes beyond it. Chats expire
without a word: where no room is left it is looked up what is still there.
"""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.errors import TooLarge
from app.settings import Settings
from app.store.keys import Chat, file_weights
from app.store.lines import as_text
from app.store.pieces import NOW, NUMBERS
from app.store.wire.connection import Connection
from app.store.wire.node import pairs
from app.store.wire.script import Command, Script, command

SETTLED_MS = 30_000  # after which bytes that are not there are none that are just being stored
NO_LIMIT = 2**50
LOOK_SECONDS = 1.0  # between two looks at what an owner's chats hold
LOOKED_AT = 500  # chats in one exchange
MORE_CHATS = 1000  # beyond those that are kept: files may come before their chat

# takes room for more bytes of a chat; answers the weight as it is written now, and before. A second
# time with the same token it finds that done
RESERVE = Script(
    NOW
    + NUMBERS
    + """
local old = redis.call('HGET', weights, chat_id)
local was, last = string.match(old or '', '^(%d+) %d+ (%S+)$')
if last == token then return {old, was - more} end
if number(weights, ':total') + more > tonumber(most) then return {} end
if not old and redis.call('HLEN', weights) > tonumber(most_chats) then return {} end
local written = string.format('%.0f %s %s', (sane(was) or 0) + more, stamp, token)
redis.call('HSET', weights, chat_id, written)
add(weights, ':total', more)
return {written, sane(was) or 0}
""",
    keys="weights",
    args="chat_id more most most_chats token",
)

# sets weights unless they have been written since they were read; 0 takes one off. The tail: chat id,
# the weight as it was read, the bytes
PUT_RIGHT = Script(
    NOW
    + """
for n = tail, #ARGV, 3 do
  if redis.call('HGET', weights, ARGV[n]) == ARGV[n + 1] then
    if ARGV[n + 2] == '0' then
      redis.call('HDEL', weights, ARGV[n])
    else
      redis.call('HSET', weights, ARGV[n], ARGV[n + 2] .. ' ' .. stamp .. ' -')
    end
  end
end
redis.call('HDEL', weights, ':total')
local total = 0
for _, weight in ipairs(redis.call('HVALS', weights)) do
  total = total + (tonumber(string.match(weight, '^(%d+) ')) or 0)
end
if total > 0 then redis.call('HSET', weights, ':total', string.format('%.0f', total)) end
return 1
""",
    keys="weights",
    tail=True,
)

# takes a chat off that has just lost its files, all of them
DROP = Script(
    NUMBERS
    + """
local was = string.match(redis.call('HGET', weights, chat_id) or '', '^%d+')
if redis.call('HDEL', weights, chat_id) == 1 then add(weights, ':total', -(sane(was) or 0)) end
return 1
""",
    keys="weights",
    args="chat_id",
)


@dataclass(frozen=True, slots=True)
class Weight:
    """What the files of a chat weigh. `written`: as it stands in Redis, or stood when it was read."""

    chat_id: str
    written: str
    bytes: int


class Weights:
    """Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._redis = connection
        self._most = settings.files_max_mb * 1024 * 1024
        self._most_chats = settings.memory_max_conversations + MORE_CHATS
        self._looked: dict[str, float] = {}

    async def reserve(self, chat: Chat, more: int, token: str) -> Weight:
        """Takes room for more bytes of a chat; what gives it back when it is put right.

        Raises `TooLarge` where there is none.
        """
        script = self._reserving(chat, more, self._most, token)
        room = await self._redis.do(script)
        if not room and await self._look_again(chat.owner):
            room = await self._redis.do(script)
        if not room:
            most = self._most // 1024 // 1024
            raise TooLarge(f"All your files may have {most} MB. Delete a chat with files to make room.")
        return Weight(chat.id, room[0].decode(), int(room[1]))

    async def count_rest(self, chats: Iterable[Chat]) -> None:
        """Counts what is in these chats and was not counted: they were deleted while it came. Whoever puts
        files in and whoever deletes looks when it has done so, so that the one who comes last sees it.
        """
        for chat in chats:
            asked = [
                command("HGET", file_weights(chat.owner), chat.id),
                command("HGET", chat.files, ":bytes"),
            ]
            row, held = await self._redis.do_all(asked, check=False)
            counted = _bytes_of(row)
            if isinstance(held, bytes) and held.isdigit() and int(held) > counted:
                await self._redis.do(
                    self._reserving(chat, int(held) - counted, NO_LIMIT, uuid.uuid4().hex, NO_LIMIT)
                )

    async def weigh_again(self, chat: Chat) -> None:
        """Gives back the room of what this chat has no more."""
        row = await self._redis.do(command("HGET", file_weights(chat.owner), chat.id))
        held = await self._redis.do(command("HGET", chat.files, ":bytes"))
        if row is not None and _is_count(held):
            await self.put_right(chat.owner, [Weight(chat.id, as_text(row), int(held or 0))])
            await self.count_rest([chat])

    async def weighed(self, owner: str, chat_ids: Sequence[str]) -> list[Weight]:
        """The weights of those of these chats that have files, as nothing: so they are put right when
        the chats are gone.
        """
        rows = await self._redis.do(command("HMGET", file_weights(owner), *chat_ids))
        found = zip(chat_ids, rows, strict=True)
        return [Weight(chat_id, as_text(row), 0) for chat_id, row in found if row is not None]

    async def put_right(self, owner: str, weights: Iterable[Weight]) -> None:
        """Writes these bytes, but where a weight has been written meanwhile."""
        words = [str(word) for one in weights for word in (one.chat_id, one.written, one.bytes)]
        await self._redis.do(PUT_RIGHT(*words, weights=file_weights(owner)))

    def _reserving(
        self, chat: Chat, more: int, most: int, token: str, most_chats: int | None = None
    ) -> Command:
        return RESERVE(
            weights=file_weights(chat.owner), chat_id=chat.id, more=more, most=most,
            most_chats=most_chats or self._most_chats, token=token,
        )  # fmt: skip

    async def _look_again(self, owner: str) -> bool:
        """Takes off what has expired; whether it was time to look."""
        now = time.monotonic()
        if now - self._looked.get(owner, -LOOK_SECONDS) < LOOK_SECONDS:
            return False
        self._looked[owner] = now
        rows, (seconds, _) = await self._redis.do_all(
            [command("HGETALL", file_weights(owner)), command("TIME")]
        )
        settled = int(seconds) * 1000 - SETTLED_MS
        old = [(as_text(name), as_text(value)) for name, value in pairs(rows) if _was_before(value, settled)]
        for at in range(0, len(old), LOOKED_AT):
            some = [one for one in old[at : at + LOOKED_AT] if one[0] != ":total"]
            asked = [command("HGET", Chat(owner, name).files, ":bytes") for name, _ in some]
            held = zip(some, await self._redis.do_all(asked, check=False), strict=True)
            await self.put_right(owner, [Weight(*one, int(n or 0)) for one, n in held if _is_count(n)])
        return True


def dropped(chat: Chat) -> Command:
    """Describes that the files of this chat are no more."""
    return DROP(weights=file_weights(chat.owner), chat_id=chat.id)


def _was_before(value: bytes, at_ms: int) -> bool:
    """Whether this weight was written before; what cannot be read was."""
    parts = value.split(b" ")
    return len(parts) < 3 or not parts[1].isdigit() or int(parts[1]) < at_ms


def _bytes_of(row: object) -> int:
    found = row.split(b" ")[0] if isinstance(row, bytes) else b""
    return int(found) if found.isdigit() else 0


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, bytes) and value.isdigit())
