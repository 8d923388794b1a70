"""Turns at a model that makes only so many replies at once, over all backends: who waits, who
works.

Fair by owner: a ticket is the one that was served last, or one more than the owner's own last,
whichever is higher, so somebody with ten waiting stands behind the first of everybody else. Who
waits or works renews its place; a place that is not renewed is free again, whoever looks next.
Without Redis there is no queue: callers let `RedisUnavailable` pass as their turn.

| key | type | holds |
|---|---|---|
| `{queue}:waiting` | sorted set | attempt -> ticket, and the order of arrival behind the point |
| `{queue}:working` | sorted set | attempt -> ticket it had |
| `{queue}:until` | sorted set | attempt -> the time at which its place lapses |
| `{queue}:who` | hash | attempt -> `<process> <owner>` |
| `{queue}:tickets` | hash | owner -> next ticket; `served` and `arrivals` of all, behind a colon |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.store.pieces import NOW, NUMBERS
from app.store.wire.connection import Connection
from app.store.wire.script import Command, Script, command

PLACE_SECONDS = 9.0  # > three renewals at the pace of a heartbeat
IDLE_SECONDS = 3600  # what is left of a queue that nobody uses

_KEYS = "waiting working until_ who tickets"
_NAMES = dict(
    zip(
        _KEYS.split(),
        [f"{{queue}}:{part}" for part in ("waiting", "working", "until", "who", "tickets")],
        strict=True,
    )
)

# takes off whose place has lapsed, and forgets the tickets when nobody is left
_SWEEP = (
    NUMBERS
    + """
local function leave(attempt)
  redis.call('ZREM', waiting, attempt)
  redis.call('ZREM', working, attempt)
  redis.call('ZREM', until_, attempt)
  redis.call('HDEL', who, attempt)
end
local function sweep()
  for _, attempt in ipairs(redis.call('ZRANGEBYSCORE', until_, '-inf', now, 'LIMIT', 0, 1000)) do
    leave(attempt)
  end
  if redis.call('ZCARD', waiting) + redis.call('ZCARD', working) > redis.call('ZCARD', until_) then
    for _, key in ipairs({waiting, working}) do -- who has no time at which its place lapses has none
      for _, attempt in ipairs(redis.call('ZRANGE', key, 0, 999)) do
        if not redis.call('ZSCORE', until_, attempt) then leave(attempt) end
      end
    end
  end
  if redis.call('ZCARD', until_) == 0 then redis.call('DEL', tickets) end
end
local function keep(attempt)
  redis.call('ZADD', until_, now + place_ms, attempt)
  for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, idle) end
end
local function free()
  return tonumber(limit) - redis.call('ZCARD', working)
end
local function stand(attempt)
  local rank = redis.call('ZRANK', waiting, attempt)
  if rank and rank < free() then
    local ticket = redis.call('ZSCORE', waiting, attempt)
    redis.call('ZREM', waiting, attempt)
    redis.call('ZADD', working, ticket, attempt)
    redis.call('HSET', tickets, ':served', math.floor(tonumber(ticket)))
    return {'turn', 0, 0}
  end
  return {'waiting', rank + 1, rank + redis.call('ZCARD', working)}
end
"""
)

# `turn`, `waiting` with position and number ahead, `full`, or `limited` when the owner has too
# many; a second time for the same attempt it answers where that stands
ENTER = Script(
    NOW
    + _SWEEP
    + """
sweep()
if redis.call('ZSCORE', working, attempt) then keep(attempt) return {'turn', 0, 0} end
if not redis.call('ZSCORE', waiting, attempt) then
  if tonumber(owner_most) > 0 then
    local theirs = 0
    for _, one in ipairs(redis.call('HVALS', who)) do
      if string.match(one, '^%S+ (.*)$') == owner then theirs = theirs + 1 end
    end
    if theirs >= tonumber(owner_most) then return {'limited', 0, 0} end
  end
  local line = redis.call('ZCARD', waiting)
  if line >= tonumber(most) and line >= free() then return {'full', 0, 0} end
  local ticket = math.max(number(tickets, ':served'), number(tickets, owner))
  redis.call('HSET', tickets, owner, ticket + 1)
  local arrival = add(tickets, ':arrivals', 1) % 1000000
  redis.call('ZADD', waiting, string.format('%d.%06d', ticket, arrival), attempt)
  redis.call('HSET', who, attempt, process .. ' ' .. owner)
end
keep(attempt)
return stand(attempt)
""",
    keys=_KEYS,
    args="attempt owner process limit most owner_most place_ms idle",
)

# as ENTER for who has entered; `unknown` for who has not, or whose place has lapsed
TAKE = Script(
    NOW
    + _SWEEP
    + """
sweep()
if redis.call('ZSCORE', working, attempt) then keep(attempt) return {'turn', 0, 0} end
if not redis.call('ZSCORE', waiting, attempt) then return {'unknown', 0, 0} end
keep(attempt)
return stand(attempt)
""",
    keys=_KEYS,
    args="attempt limit place_ms idle",
)

# leaves, waiting or working; answers `<process> <attempt>` of those whose turn it is now
LEAVE = Script(
    NOW
    + _SWEEP
    + """
sweep()
leave(attempt)
local called = {}
local places = free()
if places > 0 then
  for _, one in ipairs(redis.call('ZRANGE', waiting, 0, places - 1)) do
    called[#called + 1] = string.match(redis.call('HGET', who, one) or '? ', '^%S+') .. ' ' .. one
  end
end
if redis.call('ZCARD', until_) == 0 then redis.call('DEL', tickets) end
return called
""",
    keys=_KEYS,
    args="attempt limit place_ms idle",
)

# renews the places of these attempts; answers how many of them still have one
RENEW = Script(
    NOW
    + """
local kept = 0
for place = tail, #ARGV do
  if redis.call('ZSCORE', until_, ARGV[place]) then
    redis.call('ZADD', until_, now + place_ms, ARGV[place])
    kept = kept + 1
  end
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, idle) end
return kept
""",
    keys=_KEYS,
    args="place_ms idle",
    tail=True,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt stands. `position`: 1 is the next in line, 0 its turn; `ahead`: who waits or
    works before it.
    """

    state: Literal["turn", "waiting", "full", "limited", "unknown"]
    position: int = 0
    ahead: int = 0


class Queue:
    """The turns at the model, as this process takes them. Every method raises `RedisUnavailable`."""

    def __init__(
        self, connection: Connection, process: str, *, parallel: int, most: int, owner_most: int = 0
    ) -> None:
        self._redis = connection
        self._process = process
        self._limit = parallel
        self._most = most
        self._owner_most = owner_most

    async def enter(self, attempt: str, owner: str) -> Place:
        """Asks for a turn; entering twice changes nothing."""
        limits = {"limit": self._limit, "most": self._most, "owner_most": self._owner_most}
        who = {"attempt": attempt, "owner": owner, "process": self._process}
        return await self._stand(ENTER(**_NAMES, **who, **limits, **_lapse()))

    async def look(self, attempt: str) -> Place:
        """Looks whether it is its turn now, and renews its place; `unknown`: enter again."""
        return await self._stand(TAKE(**_NAMES, attempt=attempt, limit=self._limit, **_lapse()))

    async def leave(self, attempt: str) -> list[tuple[str, str]]:
        """Gives a place back; process and attempt of those whose turn it is now, who want to be told."""
        row = await self._redis.do(LEAVE(**_NAMES, attempt=attempt, limit=self._limit, **_lapse()))
        called = (one.decode().partition(" ") for one in row)
        return [(process, other) for process, _, other in called]

    async def renew(self, attempts: Sequence[str]) -> int:
        """Keeps the places of those that work; how many still have one."""
        return int(await self._redis.do(RENEW(*attempts, **_NAMES, **_lapse()))) if attempts else 0

    async def counts(self) -> tuple[int, int]:
        """How many work, and how many wait."""
        keys = (_NAMES["working"], _NAMES["waiting"])
        working, waiting = await self._redis.do_all([command("ZCARD", key) for key in keys])
        return int(working), int(waiting)

    async def _stand(self, asked: Command) -> Place:
        state, position, ahead = await self._redis.do(asked)
        return Place(state.decode(), int(position), int(ahead))


def _lapse() -> dict[str, int]:
    return {"place_ms": int(PLACE_SECONDS * 1000), "idle": IDLE_SECONDS}
