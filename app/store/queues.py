"""The queues of the chats: messages that wait until the reply before them has ended.

A queue is the list `chat:{…}:queue`; START takes the first message off it in the step in which its
run gets the chat, so none is started twice or lost. The chats with a queue are noted in `queued`
before the first message waits, and any backend looks there for those in which nothing runs.
"""

import uuid
from collections.abc import Sequence

from loguru import logger

from app.errors import NotFound
from app.settings import Settings
from app.store.commands import touch_name
from app.store.keys import QUEUED, Chat
from app.store.lines import as_text
from app.store.pieces import LIVES, NOW, NUMBERS
from app.store.stops import timestamp_ms
from app.store.waiting import HAND_BACK, WAITING, Waiting, read_all
from app.store.wire.connection import Connection
from app.store.wire.script import Script, command

FORGET_MS = 60_000  # a chat stays noted so long without a queue: a message may be on its way into it
MOST_LOOKED_AT = 200

# takes a message out of the queue; the last one taken is kept with the token of who took it, who
# may ask again
TAKE_BACK = Script(
    WAITING
    + """
local place, entry = waits(run_id)
if place then
  redis.call('LREM', queue, 1, entry)
  redis.call('HSET', chat, 'taken_back', token .. ' ' .. entry)
  return entry
end
local taken, last = string.match(redis.call('HGET', chat, 'taken_back') or '', '^(%S+) (.*)$')
return taken == token and last or false
""",
    keys="chat queue",
    args="run_id token",
)

# hands back what waits, for a stop that no request has brought
HAND_ALL_BACK = Script(
    NOW + LIVES + NUMBERS + WAITING + HAND_BACK + "return #hand_back('')",
    keys="chat queue unsent",
    args="life",
)

# what waits may begin again: whoever was to go ahead of it does not come
CLEAR_THE_WAY = Script(
    """
local mine = string.match(redis.call('HGET', chat, 'way') or '', '^%S+') == run_id
return mine and redis.call('HDEL', chat, 'way') or 0
""",
    keys="chat",
    args="run_id",
)

# forgets a chat that was not noted again since
FORGET = Script(
    """
if redis.call('ZSCORE', queued, name) == score then return redis.call('ZREM', queued, name) end
return 0
""",
    keys="queued",
    args="name score",
)


class Queues:
    """Reads the queues; START and the stops write them. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings, life: int) -> None:
        self._redis = connection
        self._life = life
        self._grace_ms = settings.stop_grace_ms

    async def list_idle(self, chat: Chat) -> None:
        """Says that a message may soon wait in this chat."""
        await self._redis.do(touch_name(QUEUED, chat.name))

    async def first(self, chat: Chat) -> Waiting | None:
        """The message whose turn is next. What stands before it and cannot be read is taken out: it
        would hold the others for ever.
        """
        entries = await self._redis.do(command("LRANGE", chat.queue, 0, -1))
        found = read_all(entries)
        unread = entries[: found[0].position - 1 if found else len(entries)]
        if unread:
            logger.warning("messages=<{}> | in a queue, not understood here, taken out", len(unread))
            await self._redis.do_all([command("LREM", chat.queue, 1, entry) for entry in unread])
        return found[0] if found else None

    async def hand_back(self, chats: Sequence[Chat]) -> None:
        """What waits in these chats begins no more by itself; it can be read as `unsent`."""
        scripts = [
            HAND_ALL_BACK(chat=chat.key, queue=chat.queue, unsent=chat.unsent, life=self._life)
            for chat in chats
        ]
        await self._redis.do_all(scripts)

    async def clear_the_way(self, chat: Chat, run_id: str) -> None:
        """The run with this id does not go ahead of what waits."""
        await self._redis.do(CLEAR_THE_WAY(chat=chat.key, run_id=run_id))

    async def stopped(self, chat: Chat, waiting: Waiting) -> bool:
        """Whether somebody has stopped this chat by its key since this message waits, and nothing ran."""
        (value,) = await self._redis.values([chat.stop])
        at_ms = timestamp_ms(as_text(value)) if value else None
        return at_ms is not None and waiting.created_ms <= at_ms + self._grace_ms

    async def take_back(self, chat: Chat, run_id: str) -> Waiting:
        """Takes one out. Raises `NotFound` when it does not wait."""
        taken = TAKE_BACK(chat=chat.key, queue=chat.queue, run_id=run_id, token=uuid.uuid4().hex)
        found = read_all(filter(None, [await self._redis.do(taken)]))
        if not found:
            raise NotFound("No message with this run_id waits in this chat.")
        return found[0]

    async def due(self) -> list[Chat]:
        """Chats in which messages wait and nothing runs, as far as one look tells; forgets those without."""
        noted, (seconds, _) = await self._redis.do_all(
            [command("ZRANGE", QUEUED, 0, MOST_LOOKED_AT - 1, "WITHSCORES"), command("TIME")]
        )
        names, scores = [as_text(name) for name in noted[::2]], noted[1::2]
        chats = [Chat.named(name) for name in names]
        asked = []
        for chat in chats:
            asked += [command("LLEN", chat.queue), command("HGET", chat.key, "run_id")]
        rows = await self._redis.do_all(asked, check=False)
        long_ago = int(seconds) * 1000 - FORGET_MS
        idle = [
            FORGET(queued=QUEUED, name=chat.name, score=score.decode())
            for chat, score, length in zip(chats, scores, rows[::2], strict=True)
            if length == 0 and float(score) < long_ago
        ]
        await self._redis.do_all(idle, check=False)
        return _due(chats, rows)


def _due(chats: Sequence[Chat], rows: Sequence[object]) -> list[Chat]:
    found = zip(chats, rows[::2], rows[1::2], strict=True)
    return [chat for chat, length, live in found if isinstance(length, int) and length and live is None]
