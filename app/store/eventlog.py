"""The event log of a run in Redis, from which any backend can replay and follow it.

One entry holds the events of one batch; its id is the number of the last one, so Redis refuses a batch sent
twice.
"""

from app.events import Event, decode, encode, name
from app.store.keys import Chat
from app.store.wire.connection import Connection, Script
from app.store.wire.node import Command, pairs

BATCH = 500  # events per write: far below what Lua takes as arguments
READER_SECONDS = 15

LAST_NUMBER = """
local function last_number(key)
  local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)
  return last[1] and tonumber(string.match(last[1][1], '^%d+')) or 0
end
"""

# writes the pairs of number and event from ARGV[first] on, leaving out what the log has, and answers the
# number it ends with then. Nothing is written where that would leave a gap: the log has lost its end with a
# primary that died
WRITE_EVENTS = """
local function write_events(key, first)
  local last, fields = last_number(key), {}
  if not ARGV[first] or tonumber(ARGV[first]) > last + 1 then return last end
  for place = first, #ARGV, 2 do
    if tonumber(ARGV[place]) > last then
      fields[#fields + 1] = ARGV[place]
      fields[#fields + 1] = ARGV[place + 1]
    end
    if #fields >= 2000 or (#fields > 0 and place + 1 >= #ARGV) then
      redis.call('XADD', key, fields[#fields - 1] .. '-0', unpack(fields))
      fields = {}
    end
  end
  return math.max(last, tonumber(ARGV[#ARGV - 1]))
end
"""

# ARGV: run id, seconds, then number and event; answers the number the log ends with, -1 when the run lost its
# chat
APPEND = Script(
    LAST_NUMBER
    + WRITE_EVENTS
    + """
if redis.call('HGET', KEYS[1], 'run_id') ~= ARGV[1] then return -1 end
local last = write_events(KEYS[2], 3)
if ARGV[3] == '1' then redis.call('EXPIRE', KEYS[2], ARGV[2]) end
return last
"""
)

SCRIPTS = (APPEND,)


def numbered(events: list[Event], first: int) -> list[str]:
    """Number and event, alternating, as the scripts take them."""
    return [
        part for n, event in enumerate(events, first) for part in (str(n), f"{name(event)} {encode(event)}")
    ]


class EventLog:
    """Writes and reads event logs. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, log_seconds: int) -> None:
        self._redis = connection
        self._seconds = log_seconds

    def append(self, chat: Chat, run_id: str, events: list[Event], first: int) -> Command:
        """The command that appends events, numbered from `first`; it answers what number the log ends with.

        That is less than `first` when the log has lost its end, and -1 when the run was settled.
        """
        return APPEND(
            (chat.key, chat.events(run_id)), run_id, self._seconds, *numbered(events[:BATCH], first)
        )

    async def begun(self, chat: Chat, run_id: str) -> bool:
        """Whether the run has written anything."""
        return bool(await self._redis.call("EXISTS", chat.events(run_id)))

    async def read(self, chat: Chat, run_id: str) -> list[Event]:
        """All events in the log, from number 1; empty when there is none (any more)."""
        rows = await self._redis.call("XRANGE", chat.events(run_id), "-", "+")
        return [event for _, fields in rows for event in _events(fields)]

    async def next(self, chat: Chat, run_id: str, after: int) -> list[Event]:
        """The events behind number `after`, which ended a batch, waiting a moment for them; empty when none
        came.
        """
        rows = await self._redis.read_stream(chat.events(run_id), after)
        return [event for _, fields in rows for event in _events(fields)]

    async def show_reader(self, chat: Chat, reader: str) -> None:
        """Lets the backend that makes the reply know that somebody reads it here, for 15 s."""
        now = int((await self._redis.call("TIME"))[0])
        await self._redis.calls(
            [("ZADD", chat.readers, now + READER_SECONDS, reader), ("EXPIRE", chat.readers, READER_SECONDS)]
        )

    async def drop_reader(self, chat: Chat, reader: str) -> None:
        await self._redis.call("ZREM", chat.readers, reader)

    async def has_readers(self, chat: Chat) -> bool:
        """Whether anybody reads this chat's run on another backend."""
        now = int((await self._redis.call("TIME"))[0])
        return bool(await self._redis.call("ZCOUNT", chat.readers, now, "+inf"))


def _events(fields: list[bytes]) -> list[Event]:
    return [decode(*value.decode().split(" ", 1)) for _, value in pairs(fields)]
