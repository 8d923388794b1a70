"""A message that waits in a chat until the reply before it has ended, as it stands in the queue
there.

What the scripts need to know of the queue stands here too. They never read a message: an entry is
`<run id> <milliseconds> <JSON>`. The JSON begins with who put the message there, `by`, until somebody
has been told that it waits.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.store.filed import readable_files

MOST_WAITING = 10
EARLY_SECONDS = 60  # a stop for a run that has not begun waits so long
UNSENT_MS = 60_000  # so long the same stop, sent again, hands the same messages back
WAY_MS = 10_000  # so long what waits leaves the way to a message that replaces a reply

# the place of this run in the queue of its chat and its entry; nil when it does not wait
WAITING = """
local function waits(id)
  local place = 0
  for _, entry in ipairs(redis.call('LRANGE', queue, 0, -1)) do
    if string.match(entry, '^%S+ %d+ {') then place = place + 1 else redis.call('LREM', queue, 1, entry) end
    if string.match(entry, '^%S+') == id then return place, entry end
  end
end
local function put_by(entry)
  return string.match(entry, '^%S+ %d+ {"by": "(%w+)"')
end
local function told(entry)
  return (string.gsub(entry, '^(%S+ %d+ {)"by": "%w*", ', '%1', 1))
end
"""

# of START. `line`: empty for a message that does not wait, `last` for one that may, `first` for one
# that goes ahead of those that wait, `head` for one that waited and whose turn has come: unless the
# `way` is kept free
LINE_UP = f"""
local turn, entry = waits(run_id)
if not repeated then
  local way = sane(string.match(redis.call('HGET', chat, 'way') or '', '%d+$')) or 0
  if line == 'head' and (turn ~= 1 or way > now) then return {{'waits', 0, ''}} end
  local mine = turn and string.match(told(entry), '^%S+ %d+ (.*)$') == waiting
  if turn and line ~= 'head' and not (line == 'first' and mine) then
    if live[1] or turn > 1 or not mine then
      if put_by(entry) ~= attempt then redis.call('LSET', queue, turn - 1, told(entry)) end
      return {{'waits', turn, entry}}
    end
  end
  local length = redis.call('LLEN', queue)
  if line == 'last' and not turn and (live[1] or length > 0) then
    if length >= {MOST_WAITING} then return {{'full'}} end
    entry = run_id .. ' ' .. stamp .. ' {{"by": "' .. attempt .. '", ' .. string.sub(waiting, 2)
    redis.call('RPUSH', queue, entry)
    return {{'waits', length + 1, entry}}
  end
  if line == 'first' and live[1] then
    redis.call('HSET', chat, 'way', run_id .. ' ' .. string.format('%.0f', now + {WAY_MS}))
  end
end
"""

# of START, once the run has the chat: its entry is kept beside it until it ends, to be put back by
# UNDO
LEAVE_LINE = """
  if turn then
    redis.call('LREM', queue, 1, entry)
    redis.call('HSET', chat, 'waited', entry)
  end
  redis.call('DEL', unsent)
  redis.call('HDEL', chat, 'way')
"""

# of UNDO: the message waits again
LINE_UP_AGAIN = """
local waited = redis.call('HGET', chat, 'waited')
if waited then redis.call('LPUSH', queue, waited) end
"""

# of UNDO: a message of which nobody has been told that it waits does not
LEAVE_LINE_AGAIN = """
local _, mine = waits(run_id)
if mine and put_by(mine) == attempt then redis.call('LREM', queue, 1, mine) end
"""

# a stop hands back what waits. It can be read until the next message is sent, and the same stop,
# sent again within a minute because its answer was lost, hands it back again (pcall: a full Redis
# takes the stop all the same)
HAND_BACK = f"""
local function hand_back(id)
  local handed = id == '' and redis.call('EXISTS', queue) == 1
  if handed then
    redis.call('RENAME', queue, unsent)
  elseif id ~= '' then
    local place, entry = waits(id)
    if place then
      redis.call('LREM', queue, 1, entry)
      redis.call('DEL', unsent)
      redis.call('RPUSH', unsent, entry)
      handed = true
    end
  end
  if handed then
    if redis.call('EXISTS', chat) == 1 then redis.pcall('HSET', chat, 'handed', stamp .. ' ' .. id) end
    lives({{unsent}}, life)
    return redis.call('LRANGE', unsent, 0, -1)
  end
  local at, by = string.match(redis.call('HGET', chat, 'handed') or '', '^(%d+) (%S*)$')
  if by ~= id or now - (sane(at) or 0) > {UNSENT_MS} then return {{}} end
  return redis.call('LRANGE', unsent, 0, -1)
end
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message in the queue of its chat; `position` counts from 1, 0 where it is not known."""

    run_id: str
    text: str
    agent: str = "general"
    files: list[dict[str, Any]] = field(default_factory=list)
    created_ms: int = 0
    position: int = 0

    def kept(self) -> str:
        """The JSON kept in Redis; START puts the run id and the time before it."""
        files = {"files": self.files} if self.files else {}
        return json.dumps({"text": self.text, "agent": self.agent} | files, ensure_ascii=False)

    @classmethod
    def read(cls, entry: bytes, position: int = 0) -> "Waiting":
        """What another version adds is left out. Raises `ValueError`, `TypeError`, `LookupError`,
        `AttributeError`, `RecursionError` for an entry that is none.
        """
        run_id, at, data = entry.split(b" ", 2)
        told = json.loads(data)
        files = readable_files(told.get("files")) or []
        text, agent = told["text"], told.get("agent", "general")
        if not (isinstance(text, str) and isinstance(agent, str)):
            raise ValueError
        return cls(run_id.decode(), text, agent, files, int(at), position)


NOWHERE = Waiting("", "")


def read_all(entries: Iterable[bytes]) -> list[Waiting]:
    """The messages among these entries that can be read, in order."""
    found = []
    for position, entry in enumerate(entries, 1):
        try:
            found.append(Waiting.read(entry, position))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            continue
    return found
