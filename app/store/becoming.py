"""A chat becomes a conversation that a client brings.

What the chat has already, from its beginning on, stays as it is, with its runs and facts. From the
first difference on the brought turns take its place, and what stood there is a version of the
question that stands there now. The turns are compared here, as they are written; START carries out
what was found while the chat is still the same. A turn that was brought has no run;
`~<attempt>.<n>` stands in the place of its id.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from app.store.keys import Chat
from app.store.records import Message
from app.store.wire.connection import Connection
from app.store.wire.script import command

PAGE = 25  # messages per read
_FIELDS = ("first", "version", "last_run")

# of START: the lines from a place on are those of the tail; `own` is the line of the question of the
# run, false where there is none. Answers the version that was made, empty for none, and how many
# lines came
BECOME = f"""
local function looked_like()
  local told = {{redis.call('LLEN', messages)}}
  for _, field in ipairs({{'{"', '".join(_FIELDS)}'}}) do
    told[#told + 1] = redis.call('HGET', chat, field) or ''
  end
  return redis.sha1hex(table.concat(told, ' '))
end
local function become(place, own)
  local version, bytes = '', 0
  if place < redis.call('LLEN', messages) then
    version = cut(place, string.match(ARGV[tail] or own, '^%d+ (%S+)'))
  end
  for n = tail, #ARGV do
    redis.call('RPUSH', messages, ARGV[n])
    bytes = bytes + #ARGV[n]
  end
  add(chat, 'bytes', bytes)
  return version, #ARGV - tail + 1
end
"""

# of UNDO: takes so many lines off the end of the chat again
TAKE_OFF = """
local function take_off(lines)
  for _ = 1, lines do add(chat, 'bytes', -#(redis.call('RPOP', messages) or '')) end
end
"""


@dataclass(slots=True)
class Becoming:
    """From `place` on the chat is these lines, if it still looks so."""

    place: int = 0
    lines: list[bytes] = field(default_factory=list)
    looked: str = ""


async def compared(
    redis: Connection, chat: Chat, turns: Sequence[Message], attempt: str, own: bool
) -> Becoming:
    """What a chat must become to hold these turns; with `own` a question follows them.

    Where something runs nothing is read: START says so. Raises `RedisUnavailable`.
    """
    fields, length, (seconds, micros) = await redis.do_all(
        [command("HMGET", chat.key, *_FIELDS, "run_id"), command("LLEN", chat.messages), command("TIME")]
    )
    mark = f"{int(seconds) * 1000 + int(micros) // 1000} ~{attempt}"
    if fields[-1] is not None:
        return Becoming()
    looked = _digest([str(length).encode(), *(one or b"" for one in fields[:-1])])
    bodies = [turn.body().encode() for turn in turns]
    same: list[bytes] = []
    taken = 0
    async for line in _kept(redis, chat):
        turn = bodies[taken] if taken < len(bodies) else None
        told = turn is not None and _tells(line, turn)
        if not told and not (_tells(line, _SILENT) and not (turn or b"").startswith(_ASSISTANT)):
            return _parted(same, line, _marked(bodies, taken, mark), looked, own)
        same.append(line)
        taken += told
    return Becoming(len(same), _marked(bodies, taken, mark), looked)


_ASSISTANT, _USER = b'{"role": "assistant"', b'{"role": "user"'
_SILENT = b'{"role": "assistant", "content": ""}'  # what says nothing no client brings back


async def _kept(redis: Connection, chat: Chat) -> AsyncIterator[bytes]:
    at = 0
    while page := await redis.do(command("LRANGE", chat.messages, at, at + PAGE - 1)):
        for line in page:
            yield line
        at += len(page)


def _digest(words: Sequence[bytes]) -> str:
    return hashlib.sha1(b" ".join(words), usedforsecurity=False).hexdigest()


def _body(line: bytes) -> bytes:
    return line[line.find(b"{") :]


def _tells(line: bytes, body: bytes) -> bool:
    """Whether it says this; a reply may have more behind its text."""
    kept, length = _body(line), len(body) - 1
    return kept[:length] == body[:-1] and kept[length : length + 1] in (b",", b"}")


def _marked(bodies: Sequence[bytes], first: int, mark: str) -> list[bytes]:
    return [f"{mark}.{n} ".encode() + body for n, body in enumerate(bodies[first:], first + 1)]


def _parted(same: list[bytes], line: bytes, came: list[bytes], looked: str, own: bool) -> Becoming:
    """Versions are those of a question: where a reply differs, its question goes with it, and stands
    again.
    """
    asks = _body(came[0]).startswith(_USER) if came else own
    differs = asks and _body(line).startswith(_USER)
    while same and not differs:
        came.insert(0, same.pop())
        differs = _body(came[0]).startswith(_USER)
    return Becoming(len(same), came, looked)
