"""What people do to a chat at rest: swap versions, fork it, name and instruct it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.settings import Settings
from app.store.commands import touch
from app.store.keys import Chat
from app.store.pieces import LIVES, NOW, NUMBERS, RUN_AT
from app.store.records import LiveRun, Message
from app.store.versions import CUT, PUT_BACK, VERSIONS
from app.store.wire.connection import Connection
from app.store.wire.script import Script, command

# puts a version back in its place; what stood there becomes one. `swapped` remembers the last, so
# that the same swap twice is one
SWAP = Script(
    NOW
    + LIVES
    + NUMBERS
    + RUN_AT
    + VERSIONS
    + CUT
    + PUT_BACK
    + """
local live = redis.call('HMGET', chat, 'run_id', 'run', 'swapped')
if live[1] then return {'busy', live[2]} end
local anchor, place = string.match(redis.call('HGET', versions, version) or '', '^(%S+) (%d+)$')
if not anchor then
  return {live[3] and string.match(live[3], '^%d+') == version and 'swapped' or 'unknown'}
end
place = place - number(chat, 'first')
if place < 0 or run_at(place) ~= anchor then return {'unknown'} end
local question = string.match(redis.call('LINDEX', listed(version), 0) or '', '^%d+ (%S+)')
if not question then return {'unknown'} end
local made = cut(place, question)
put_back(version)
redis.call('HSET', chat, 'last_run', run_at(-1), 'updated_at', stamp, 'swapped', version .. ' ' .. made)
lives({chat, messages, runs, ids, versions, files}, life)
lives(all_lists(), life)
return {'swapped'}
""",
    keys="chat messages runs ids versions files",
    args="version life",
    lasting=True,
)

# makes a chat that is not there yet; the same fork twice is one. The tail: its lines, so many, then
# run ids and their records
FORK = Script(
    NOW
    + LIVES
    + """
if redis.call('EXISTS', chat) == 1 then
  return redis.call('HGET', chat, 'forked') == origin and 'forked' or 'taken'
end
redis.call('DEL', messages, runs, ids)
local bytes = 0
for n = tail, tail + lines - 1 do
  redis.call('RPUSH', messages, ARGV[n])
  bytes = bytes + #ARGV[n]
end
for n = tail + lines, #ARGV, 2 do
  redis.call('RPUSH', ids, ARGV[n])
  redis.call('HSET', runs, ARGV[n], ARGV[n + 1])
end
redis.call('HSET', chat, 'created_at', stamp, 'updated_at', stamp, 'title', title, 'agent', agent,
  'last_run', last_run, 'bytes', string.format('%.0f', bytes), 'forked', origin)
for _, pair in ipairs({{'chosen', chosen}, {'instructions', instructions}, {'temperature', temperature}}) do
  if pair[2] ~= '' then redis.call('HSET', chat, pair[1], pair[2]) end
end
lives({chat, messages, runs, ids, files}, life)
return 'forked'
""",
    keys="chat messages runs ids files",
    args="origin lines title agent chosen instructions temperature last_run life",
    tail=True,
    lasting=True,
)

# sets fields of a chat that is there; an empty one is removed. It is no more as a file brought it.
# The tail: fields and values
EDIT = Script(
    """
if redis.call('EXISTS', chat) == 0 then return 0 end
redis.call('HDEL', chat, 'brought')
for n = tail, #ARGV, 2 do
  if ARGV[n + 1] == '' then
    redis.call('HDEL', chat, ARGV[n])
  else
    redis.call('HSET', chat, ARGV[n], ARGV[n + 1])
  end
end
return 1
""",
    keys="chat",
    tail=True,
)


@dataclass(frozen=True, slots=True)
class Fork:
    """A new chat: its messages as they stand, and what the old one's hash says. `last_run` is its last."""

    origin: str
    title: str
    fields: Mapping[str, str]
    messages: Sequence[Message]
    last_run: str


class Branches:
    """Changes chats in which nothing runs. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings, life: int) -> None:
        self._redis = connection
        self._life = life
        self._most = settings.memory_max_conversations

    async def swap(self, chat: Chat, version: int) -> str | LiveRun:
        """`swapped`, `unknown`, or the run in the way."""
        script = SWAP(
            chat=chat.key, messages=chat.messages, runs=chat.runs, ids=chat.ids, versions=chat.versions,
            files=chat.files, version=version, life=self._life,
        )  # fmt: skip
        row, _ = await self._redis.do_all([script, touch(chat, known=True)])
        if row[0] == b"busy":
            return LiveRun.read(row[1]) or LiveRun.nobody()
        return str(row[0].decode())

    async def fork(self, source: Chat, target: Chat, fork: Fork) -> tuple[str, bool]:
        """`forked` or `taken`; and whether there are more chats now than may be kept."""
        run_ids = list(dict.fromkeys(message.run_id for message in fork.messages if message.run_id))
        if fork.last_run not in run_ids:
            run_ids.append(fork.last_run)
        records = await self._redis.do(command("HMGET", source.runs, *run_ids))
        lines = [message.line() for message in fork.messages]
        script = FORK(
            *lines,
            *_records(run_ids, records, fork.messages),
            chat=target.key, messages=target.messages, runs=target.runs, ids=target.ids, files=target.files,
            origin=fork.origin, lines=len(lines), title=fork.title,
            agent=fork.fields.get("agent", ""), chosen=fork.fields.get("chosen", ""),
            instructions=fork.fields.get("instructions", ""),
            temperature=fork.fields.get("temperature", ""), last_run=fork.last_run, life=self._life,
        )  # fmt: skip
        # listed in the same step: none may be there that no list shows
        answer, _ = await self._redis.do_all([script, touch(target, known=False)])
        if answer != b"forked":
            return str(answer.decode()), False
        return "forked", await self._redis.do(touch(target)) > self._most

    async def edit(self, chat: Chat, fields: Mapping[str, str]) -> bool:
        """Sets these fields, removes empty ones; whether there is such a chat."""
        pairs = [part for pair in fields.items() for part in pair]
        return bool(await self._redis.do(EDIT(*pairs, chat=chat.key)))


def _records(
    run_ids: Sequence[str], records: Sequence[bytes | None], messages: Sequence[Message]
) -> list[str]:
    """Run ids and their records, alternating, with the places that their questions have now."""
    places: dict[str, int] = {}
    for at, message in enumerate(messages):
        if message.role == "user":
            places.setdefault(message.run_id or "", at)
    found = []
    for run_id, text in zip(run_ids, records, strict=True):
        record: dict[str, Any] = json.loads(text or b"{}")
        record["place"] = places.get(record.get("of", run_id), -1)
        found += [run_id, json.dumps(record)]
    return found
