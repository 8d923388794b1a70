"""Chats that come from a file: each is put in as a whole, or not at all when its id is taken."""

import json
import uuid
from collections.abc import Sequence

from app.settings import Settings
from app.store.keys import Chat, index
from app.store.memory import MOST_CHAT_BYTES
from app.store.pieces import LIVES
from app.store.records import Message
from app.store.wire.connection import Connection
from app.store.wire.script import Script, command

TRIES = 20

# `tail`: run id, line, and whether it begins a run, of each message. A second time it finds its own
# chat
PUT_IN = Script(
    LIVES
    + """
if redis.call('EXISTS', chat) == 1 then return redis.call('HGET', chat, 'brought') == token and 1 or 0 end
redis.call('DEL', messages, runs, ids, versions)
local bytes = 0
for at = tail, #ARGV, 3 do
  redis.call('RPUSH', messages, ARGV[at + 1])
  bytes = bytes + #ARGV[at + 1]
  if ARGV[at + 2] == '1' then
    redis.call('HSET', runs, ARGV[at], cjson.encode({digest = '', place = (at - tail) / 3, outcome = 'done'}))
    redis.call('RPUSH', ids, ARGV[at])
  end
end
while redis.call('LLEN', ids) > 256 do redis.call('HDEL', runs, redis.call('LPOP', ids)) end
redis.call('HSET', chat, 'brought', token, 'title', title, 'agent', agent, 'created_at', created_at,
  'updated_at', updated_at, 'bytes', bytes)
lives({chat, messages, runs, ids}, life)
return 1
""",
    keys="chat messages runs ids versions",
    args="token title agent created_at updated_at life",
    tail=True,
)


class Archive:
    """Puts chats in. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._redis = connection
        self._keep = settings.memory_keep_messages
        self._life = settings.memory_ttl_min * 60

    async def all_ids(self, owner: str) -> list[str]:
        """The ids of an owner's chats, the one that was used least recently first."""
        names = await self._redis.do(command("ZRANGE", index(owner), 0, -1))
        return [name.decode("utf-8", "replace") for name in names]

    async def put_in(
        self, chat: Chat, title: str, agent: str, times: tuple[int, int], messages: Sequence[Message]
    ) -> Chat:
        """Puts a chat in, its newest messages that may be kept; under another id when its own is
        taken.

        `times`: created and updated, in milliseconds. Answers the chat as it is now.
        """
        token, lines = uuid.uuid4().hex, self._fitting(messages)
        for number in range(1, TRIES + 1):
            named = chat if number == 1 else Chat(chat.owner, f"{chat.id[:100]}-{_suffix(number)}")
            script = PUT_IN(
                *lines,
                chat=named.key, messages=named.messages, runs=named.runs, ids=named.ids,
                versions=named.versions, token=token, title=title, agent=agent, created_at=times[0],
                updated_at=times[1], life=self._life,
            )  # fmt: skip
            if await self._redis.do(script):
                await self._redis.do(command("ZADD", index(chat.owner), times[1], named.id))
                break
        return named

    def _fitting(self, messages: Sequence[Message]) -> list[str]:
        """What the script takes, of the newest messages that fit."""
        found: list[str] = []
        weight, before = 0, None
        for message in messages[-self._keep :]:
            run_id = message.run_id or "-"
            line = f"{message.created_ms} {run_id} {message.body()}"
            begins = message.role == "user" and run_id not in ("-", before)
            weight, before = weight + len(line.encode()), run_id
            found += [run_id, line, str(int(begins))]
        while weight > MOST_CHAT_BYTES:
            weight -= len(found[1].encode())
            del found[:3]
        return found


def _suffix(number: int) -> str:
    return str(number) if number < TRIES else uuid.uuid4().hex


def one_line(body: dict[str, object]) -> bytes:
    """A chat as one line of the file."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
