"""A message that waits in a chat until the reply before it has ended, as it stands in the queue
there.

What the scripts need to know of the queue stands here too. They never read a message: an entry is
`<run id> <milliseconds> <JSON>`.
"""

import json
from dataclasses import dataclass, field

MOST_WAITING = 10
MOST_AHEAD = 10  # messages that replace a reply wait, for a moment, in front of those

# the place of this run in the queue of its chat and its entry; nil when it does not wait
WAITING = """
local function waits(id)
  local place = 0
  for _, entry in ipairs(redis.call('LRANGE', queue, 0, -1)) do
    if string.match(entry, '^%S+ %d+ {') then place = place + 1 else redis.call('LREM', queue, 1, entry) end
    if string.match(entry, '^%S+') == id then return place, entry end
  end
end
"""

# of START. `line`: empty for a message that does not wait, `last` for one that may, `first` for one
# that is to go ahead of those that wait, `head` for one that waited and whose turn has come
LINE_UP = f"""
local turn, entry = waits(run_id)
if not repeated then
  if line == 'head' and turn ~= 1 then return {{'waits', 0, ''}} end
  local mine = turn and string.match(entry, '^%S+ %d+ (.*)$') == waiting
  if turn and line ~= 'head' and not (line == 'first' and mine) then
    if live[1] or turn > 1 or not mine then return {{'waits', turn, entry}} end
  end
  local length = redis.call('LLEN', queue)
  if line == 'last' and not turn and (live[1] or length > 0) then
    if length >= {MOST_WAITING} then return {{'full'}} end
    entry = run_id .. ' ' .. stamp .. ' ' .. waiting
    redis.call('RPUSH', queue, entry)
    return {{'waits', length + 1, entry}}
  end
  if line == 'first' and live[1] and length > 0 and not turn then
    if length >= {MOST_WAITING + MOST_AHEAD} then return {{'full'}} end
    redis.call('LPUSH', queue, run_id .. ' ' .. stamp .. ' ' .. waiting)
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
"""

# of UNDO: the message waits again
LINE_UP_AGAIN = """
local waited = redis.call('HGET', chat, 'waited')
if waited then redis.call('LPUSH', queue, waited) end
"""

# of LOOK: a stop hands back what waits. It is kept for a minute, so that the same stop, sent again
# because its answer was lost, hands it back again
HAND_BACK = """
local function hand_back(id)
  if id == '' and redis.call('EXISTS', queue) == 1 then
    redis.call('RENAME', queue, unsent)
  elseif id ~= '' then
    local place, entry = waits(id)
    if place then
      redis.call('LREM', queue, 1, entry)
      redis.call('DEL', unsent)
      redis.call('RPUSH', unsent, entry)
    end
  end
  redis.call('EXPIRE', unsent, 60)
  local back = redis.call('LRANGE', unsent, 0, -1)
  if id ~= '' and back[1] and string.match(back[1], '^%S+') ~= id then return {} end
  return back
end
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message in the queue of its chat; `position` counts from 1, 0 where it is not known."""

    run_id: str
    text: str
    agent: str = "general"
    files: list[str] = field(default_factory=list)
    created_ms: int = 0
    position: int = 0

    def kept(self) -> str:
        """The JSON kept in Redis; START puts the run id and the time before it."""
        files = {"files": self.files} if self.files else {}
        return json.dumps({"text": self.text, "agent": self.agent} | files, ensure_ascii=False)

    @classmethod
    def read(cls, entry: bytes, position: int = 0) -> "Waiting":
        """Raises `ValueError`, `TypeError` for an entry that is none."""
        run_id, at, data = entry.split(b" ", 2)
        return cls(run_id.decode(), created_ms=int(at), position=position, **json.loads(data))


NOWHERE = Waiting("", "")


def read_all(entries: list[bytes]) -> list[Waiting]:
    """The messages among these entries that can be read, in order."""
    found = []
    for position, entry in enumerate(entries, 1):
        try:
            found.append(Waiting.read(entry, position))
        except (ValueError, TypeError):
            continue
    return found
