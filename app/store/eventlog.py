"""The event log of a run in Redis, from which any backend can replay and follow it.

One entry holds the events of one batch; its id is the number of the last one, so Redis refuses a
batch sent twice.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from loguru import logger

from app.clock import READER_SECONDS
from app.events import Event, Reasoning, Text, Unknown, decode, encode, name
from app.store.keys import Chat
from app.store.wire.connection import Connection
from app.store.wire.node import pairs
from app.store.wire.script import Command, Script, command

BATCH = 500  # events per write: far below what Lua takes as arguments
BATCH_CHARS = 16_384  # characters of text per write, one event more at the most: what a page weighs
AT_ONCE = 32  # logs written by one run of the script, which holds up all other commands
PAGE = 20  # entries per read: what one page weighs is bounded by the batches of the log writer

LAST_NUMBER = """
local function last_number(key)
  local last = redis.pcall('XREVRANGE', key, '+', '-', 'COUNT', 1)
  if last.err then redis.call('UNLINK', key) end -- no stream: none of ours
  return last[1] and tonumber(string.match(last[1][1], '^%d+')) or 0
end
"""

# writes the pairs of number and event that stand in ARGV, from one place to another, leaving out
# what the log has, and answers the number it ends with then. Nothing is written where that would
# leave a gap: the log has lost its end with a primary that died
WRITE_EVENTS = """
local function write_events(key, from, to)
  local last, fields = last_number(key), {}
  if from > to or tonumber(ARGV[from]) > last + 1 then return last end
  for place = from, to, 2 do
    if tonumber(ARGV[place]) > last then
      fields[#fields + 1] = ARGV[place]
      fields[#fields + 1] = ARGV[place + 1]
    end
    if #fields >= 2000 or (#fields > 0 and place + 1 >= to) then
      redis.call('XADD', key, fields[#fields - 1] .. '-0', unpack(fields))
      fields = {}
    end
  end
  return math.max(last, tonumber(ARGV[to - 1]))
end
"""

# over the keys of a chat and of a log, in turn. For each of them a run, a count of events, and that
# many pairs; answers for each the number its log ends with, -1 when the run lost its chat
APPEND = Script(
    LAST_NUMBER
    + WRITE_EVENTS
    + """
local answers, at = {}, tail
for n = 1, #KEYS, 2 do
  local run_id, to = ARGV[at], at + 1 + 2 * ARGV[at + 1]
  local lives = redis.pcall('HGET', KEYS[n], 'run_id') == run_id
  answers[#answers + 1] = lives and write_events(KEYS[n + 1], at + 2, to) or -1
  at = to + 1
end
return answers
""",
    keys="",
    tail=True,
)


@dataclass(frozen=True, slots=True)
class News:
    """Events of a run, numbered from `first`, that its log lacks."""

    chat: Chat
    run_id: str
    events: Sequence[Event]
    first: int


def numbered(events: Sequence[Event], first: int) -> list[str]:
    """Number and event, alternating, as the scripts take them."""
    return [
        part for n, event in enumerate(events, first) for part in (str(n), f"{name(event)} {encode(event)}")
    ]


class EventLog:
    """Writes and reads event logs. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection) -> None:
        self._redis = connection

    async def append(self, news: Sequence[News]) -> list[Any]:
        """Appends to many logs in one round trip; what number each of them ends with.

        That is less than `first` when the log has lost its end, and -1 when the run was settled. An
        error of Redis stands for those that it hit.
        """
        most = 1 if self._redis.spread else AT_ONCE
        groups = [news[first : first + most] for first in range(0, len(news), most)]
        answers = await self._redis.do_all([_appended(group) for group in groups], check=False)
        found = zip(groups, answers, strict=True)
        return [
            one for group, each in found for one in (each if isinstance(each, list) else [each] * len(group))
        ]

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

    async def have_readers(self, chats: Sequence[Chat]) -> list[bool]:
        """Whether anybody reads the runs of these chats on another backend."""
        now = int((await self._redis.do(command("TIME")))[0])
        asked = [command("ZCOUNT", chat.readers, now, "+inf") for chat in chats]
        return [bool(count) for count in await self._redis.do_all(asked)]


def _appended(news: Sequence[News]) -> Command:
    keys = [key for one in news for key in (one.chat.key, one.chat.events(one.run_id))]
    words: list[str] = []
    for one in news:
        events = numbered(_batch(one.events), one.first)
        words += (one.run_id, str(len(events) // 2), *events)
    return APPEND.over(keys, *words)


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
