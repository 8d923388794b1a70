"""The event log of a run in Redis, from which any backend can replay and follow it.

One entry holds the events of one batch; its id is the number of the last one, so Redis refuses a
batch sent twice.
"""

from collections.abc import AsyncIterator, Sequence

from loguru import logger

from app.clock import READER_SECONDS
from app.events import Event, Reasoning, Text, Unknown, decode, encode, name
from app.store.keys import Chat
from app.store.wire.connection import Connection
from app.store.wire.node import pairs
from app.store.wire.script import Command, Script, command

BATCH = 500  # events per write: far below what Lua takes as arguments
BATCH_CHARS = 16_384  # characters of text per write, one event more at the most: what a page weighs
PAGE = 20  # entries per read: what one page weighs is bounded by the batches of the log writer

LAST_NUMBER = """
local function last_number(key)
  local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)
  return last[1] and tonumber(string.match(last[1][1], '^%d+')) or 0
end
"""

# writes the pairs of number and event from ARGV[from] on, leaving out what the log has, and answers
# the number it ends with then. Nothing is written where that would leave a gap: the log has lost
# its end with a primary that died
WRITE_EVENTS = """
local function write_events(key, from)
  local last, fields = last_number(key), {}
  if not ARGV[from] or tonumber(ARGV[from]) > last + 1 then return last end
  for place = from, #ARGV, 2 do
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

# answers the number the log ends with, -1 when the run lost its chat
APPEND = Script(
    LAST_NUMBER
    + WRITE_EVENTS
    + """
if redis.call('HGET', chat, 'run_id') ~= run_id then return -1 end
local last = write_events(events, tail)
return last
""",
    keys="chat events",
    args="run_id",
    tail=True,
)


def numbered(events: Sequence[Event], first: int) -> list[str]:
    """Number and event, alternating, as the scripts take them."""
    return [
        part for n, event in enumerate(events, first) for part in (str(n), f"{name(event)} {encode(event)}")
    ]


class EventLog:
    """Writes and reads event logs. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection) -> None:
        self._redis = connection

    def append(self, chat: Chat, run_id: str, events: Sequence[Event], first: int) -> Command:
        """Describes how events, numbered from `first`, are appended; it answers what number the log
        ends with.

        That is less than `first` when the log has lost its end, and -1 when the run was settled.
        """
        what = numbered(_batch(events), first)
        return APPEND(*what, chat=chat.key, events=chat.events(run_id), run_id=run_id)

    async def begun(self, chat: Chat, run_id: str) -> bool:
        """Whether the run has written anything."""
        return bool(await self._redis.do(command("EXISTS", chat.events(run_id))))

    async def last_number(self, chat: Chat, run_id: str) -> int:
        """The number of the last event in the log; 0 when there is no log (any more)."""
        rows = await self._redis.do(command("XREVRANGE", chat.events(run_id), "+", "-", "COUNT", 1))
        return int(rows[0][0].split(b"-")[0]) if rows else 0

    async def pages(self, chat: Chat, run_id: str, after: int = 0) -> AsyncIterator[list[Event]]:
        """The events behind number `after`, page by page."""
        place = f"({after}"
        while True:
            read = command("XRANGE", chat.events(run_id), place, "+", "COUNT", PAGE)
            rows = await self._redis.do(read)
            found = _events(rows, after)
            if found:
                after += len(found)
                yield found
            if len(rows) < PAGE:
                return
            place = f"({rows[-1][0].decode()}"

    async def read(self, chat: Chat, run_id: str) -> list[Event]:
        """All events in the log, from number 1; empty when there is none (any more)."""
        return [event async for page in self.pages(chat, run_id) for event in page]

    async def news(self, wanted: Sequence[tuple[Chat, str, int]]) -> list[list[Event]]:
        """For each chat, run and number the events behind it, waiting a moment for any."""
        streams = [(chat.events(run_id), after) for chat, run_id, after in wanted]
        found = await self._redis.read_streams(streams)
        return [_events(rows, after) for rows, (_, after) in zip(found, streams, strict=True)]

    async def show_reader(self, chat: Chat, reader: str) -> None:
        """Lets the backend that makes the reply know that somebody reads it here, for `READER_SECONDS`."""
        now = int((await self._redis.do(command("TIME")))[0])
        life = int(READER_SECONDS)
        await self._redis.do_all(
            [command("ZADD", chat.readers, now + life, reader), command("EXPIRE", chat.readers, life)]
        )

    async def drop_reader(self, chat: Chat, reader: str) -> None:
        """The reader has gone."""
        await self._redis.do(command("ZREM", chat.readers, reader))

    async def has_readers(self, chat: Chat) -> bool:
        """Whether anybody reads this chat's run on another backend."""
        now = int((await self._redis.do(command("TIME")))[0])
        return bool(await self._redis.do(command("ZCOUNT", chat.readers, now, "+inf")))


def _batch(events: Sequence[Event]) -> Sequence[Event]:
    """The first of these, as many as one entry of a log takes."""
    if len(events) == 1:
        return events
    chars = 0
    for n, event in enumerate(events[:BATCH]):
        chars += len(event.text) if isinstance(event, Text | Reasoning) else 0
        if chars > BATCH_CHARS:
            return events[: n + 1]
    return events[:BATCH]


def _events(rows: Sequence[tuple[bytes, list[bytes]]], after: int) -> list[Event]:
    """The events of these entries that go on behind number `after`.

    One that cannot be read keeps its number; what has a number out of turn is none of ours.
    """
    found: list[Event] = []
    for _, fields in rows:
        for number, value in pairs(fields):
            if number.isdigit() and int(number) == after + len(found) + 1:
                found.append(_event(value))
    return found


def _event(value: bytes) -> Event:
    kind, _, data = value.decode("utf-8", "replace").partition(" ")
    try:
        return decode(kind, data)
    except (ValueError, TypeError, KeyError):
        logger.debug("event=<{!r}> | not understood here, passed on as it is", kind[:40])
        return Unknown(kind, data)
