"""The chats: messages, titles, who runs in them. Every change of a chat is one script, fenced by the run's id.

Times come from Redis alone, so the clocks of the backends may differ.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.errors import NotFound
from app.events import Event, Outcome
from app.settings import Settings
from app.store.connect import Command, Connection, Script
from app.store.eventlog import LAST_NUMBER, WRITE_EVENTS, numbered
from app.store.keys import Chat, index

EARLY_SECONDS = 60
DELETED_LOG_MS = 3000  # readers on other backends still find the terminal event

_NOW = """
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
"""

# ARGV: run id, attempt, digest, run, message, agent, title, replaced run, chat seconds, kept messages, history
START = Script(
    _NOW
    + """
local chat, messages, runs, early = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local live = redis.call('HMGET', chat, 'run_id', 'attempt', 'run_at', 'run')
local known = redis.call('HGET', runs, ARGV[1])
local repeated = live[1] == ARGV[1] and live[2] == ARGV[2]
if known and not repeated then return {'known', known, live[1] == ARGV[1] and 1 or 0} end
if live[1] and not repeated then return {'busy', live[1], live[3], live[4]} end
if not repeated then
  if ARGV[8] ~= '' then
    local found = nil
    for place, line in ipairs(redis.call('LRANGE', messages, 0, -1)) do
      local entry = cjson.decode(string.sub(line, string.find(line, ' ') + 1))
      if entry.role == 'user' and entry.run_id == ARGV[8] then found = place - 1 end
    end
    if not found then return {'gone'} end
    if found == 0 then redis.call('DEL', messages) else redis.call('LTRIM', messages, 0, found - 1) end
  end
  redis.call('HSET', chat, 'run_id', ARGV[1], 'attempt', ARGV[2], 'run_at', now, 'run', ARGV[4], 'agent', ARGV[6])
  redis.call('HSETNX', chat, 'created_at', now)
  redis.call('HSETNX', chat, 'title', ARGV[7])
  redis.call('HSET', chat, 'updated_at', now)
  if ARGV[5] ~= '' then
    redis.call('RPUSH', messages, now .. ' ' .. ARGV[5])
    redis.call('LTRIM', messages, -ARGV[10], -1)
  end
  redis.call('HSET', runs, ARGV[1], ARGV[3])
  for _, key in ipairs({chat, messages, runs}) do redis.call('EXPIRE', key, ARGV[9]) end
end
local lapses = redis.call('ZSCORE', early, ARGV[1])
local stopped = lapses and tonumber(lapses) > tonumber(now)
return {'started', redis.call('HGET', chat, 'run_at'), stopped and 1 or 0, redis.call('LRANGE', messages, -ARGV[11], -1)}
"""
)

# ARGV: run id, writer, outcome, backend, message, kept messages, chat seconds, replay seconds, last number or '',
# then number and event for every event that may not be in the log yet
END = Script(
    _NOW
    + LAST_NUMBER
    + WRITE_EVENTS
    + """
local chat, messages, runs, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local record = redis.call('HGET', runs, ARGV[1])
if redis.call('HGET', chat, 'run_id') ~= ARGV[1] then
  if record and string.sub(record, -#ARGV[2]) == ARGV[2] then return {'ended'} end
  return {'lost', record or ''}
end
if ARGV[9] ~= '' and last_number(events) ~= tonumber(ARGV[9]) then return {'moved'} end
write_events(events, 10)
redis.call('EXPIRE', events, ARGV[8])
if ARGV[5] ~= '' then
  redis.call('RPUSH', messages, now .. ' ' .. ARGV[5])
  redis.call('LTRIM', messages, -ARGV[6], -1)
end
redis.call('HDEL', chat, 'run_id', 'attempt', 'run_at', 'run')
redis.call('HSET', chat, 'last_run', ARGV[1], 'updated_at', now)
redis.call('HSET', runs, ARGV[1], table.concat({record, ARGV[3], ARGV[4], now, ARGV[2]}, ' '))
redis.call('ZREM', KEYS[5], ARGV[1])
for _, key in ipairs({chat, messages, runs}) do redis.call('EXPIRE', key, ARGV[7]) end
return {'ended'}
"""
)

# takes back a start whose answer never reached us; ARGV: run id, attempt, 1 when its message was stored
UNDO = Script(
    """
local live = redis.call('HMGET', KEYS[1], 'run_id', 'attempt')
if live[1] ~= ARGV[1] or live[2] ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'run_id', 'attempt', 'run_at', 'run')
redis.call('HDEL', KEYS[3], ARGV[1])
if ARGV[3] == '1' then redis.call('RPOP', KEYS[2]) end
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('DEL', KEYS[1]) end
return 1
"""
)

# ARGV: milliseconds the event logs still live; KEYS[5] is the prefix of the logs
DELETE = Script(
    """
if redis.call('HEXISTS', KEYS[1], 'run_id') == 1 then return 'running' end
for _, run in ipairs(redis.call('HKEYS', KEYS[3])) do redis.call('PEXPIRE', KEYS[5] .. run, ARGV[1]) end
local known = redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return known > 0 and 'deleted' or 'unknown'
"""
)

# ARGV: chat id, XX or NX-or-not; answers how many chats there are
TOUCH = Script(
    _NOW
    + """
if ARGV[2] == 'XX' then redis.call('ZADD', KEYS[1], 'XX', now, ARGV[1]) else redis.call('ZADD', KEYS[1], now, ARGV[1]) end
return redis.call('ZCARD', KEYS[1])
"""
)

RENAME = Script(
    "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end redis.call('HSET', KEYS[1], 'title', ARGV[1]) return 1"
)

SCRIPTS = (START, END, UNDO, DELETE, TOUCH, RENAME)


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a chat. `facts` tells of a reply who made it, how long it took and what it used."""

    role: str
    content: str
    created_ms: int = 0
    run_id: str | None = None
    outcome: Outcome | None = None
    facts: dict[str, Any] | None = None

    def line(self) -> str:
        """The JSON kept in Redis, without the time, which Redis adds."""
        fields = {"role": self.role, "content": self.content, "run_id": self.run_id}
        extra = {"outcome": self.outcome, "facts": self.facts}
        return json.dumps(fields | {key: value for key, value in extra.items() if value is not None})

    @classmethod
    def read(cls, line: bytes) -> "Message":
        at, _, data = line.partition(b" ")
        return cls(created_ms=int(at), **json.loads(data))


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run as the chat knows it. `process` is one life of a backend, `attempt` one try to start the run."""

    run_id: str
    started_ms: int
    agent: str
    provider: str
    model: str
    backend: str
    process: str
    attempt: str


@dataclass(frozen=True, slots=True)
class Started:
    """The run has the chat; `history` ends with its own message (empty where nothing is remembered)."""

    at_ms: int
    stop_at_birth: bool
    history: list[Message]


@dataclass(frozen=True, slots=True)
class Known:
    """This run id has been used in this chat before."""

    digest: str
    live: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: its outcome and the backend that held it, when, and who wrote it down."""

    outcome: Outcome
    backend: str
    at_ms: int
    writer: str


@dataclass(frozen=True, slots=True)
class ChatState:
    """A chat as one read shows it. `fields` is the hash in Redis."""

    fields: dict[str, str]
    messages: list[Message]

    @property
    def live(self) -> LiveRun | None:
        return live_run(self.fields.get("run_id"), self.fields.get("run_at"), self.fields.get("run"))


class Memory:
    """The chats in Redis. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._redis = connection
        self._keeps = settings.enable_memory
        self._keep = settings.memory_keep_messages
        self._history = settings.memory_max_turns * 4
        self._replay = settings.replay_ttl_seconds
        self._life = settings.memory_ttl_min * 60 if self._keeps else settings.replay_ttl_seconds
        self._life_running = max(self._life, int(settings.run_timeout_seconds) + 120)
        self._most = settings.memory_max_conversations

    async def start(
        self, chat: Chat, run: LiveRun, digest: str, text: str, replaces: str | None, also: Sequence[Command]
    ) -> tuple[Started | Known | LiveRun, list[Any]]:
        """Takes the chat for a run and stores its message, or says what is in the way; `also` goes along, first."""
        message = Message("user", text, run_id=run.run_id).line() if self._keeps else ""
        script = START(
            (chat.key, chat.messages, chat.runs, chat.early),
            *(run.run_id, run.attempt, digest, _describe(run), message, run.agent),
            *(title_of(text) if self._keeps else "", replaces or ""),
            *(self._life_running, self._keep, self._history),
        )
        touch = [TOUCH((index(chat.owner),), chat.id, "")] if self._keeps else []
        results = await self._redis.calls([*also, script, *touch])
        answer = self._answer(results[len(also)])
        if touch and results[-1] > self._most and isinstance(answer, Started):
            await self._evict(chat, results[-1] - self._most)
        return answer, results[: len(also)]

    @staticmethod
    def _answer(row: list[Any]) -> Started | Known | LiveRun:
        match row[0]:
            case b"started":
                return Started(int(row[1]), bool(row[2]), [Message.read(line) for line in row[3]])
            case b"known":
                return Known(row[1].decode().split(" ")[0], bool(row[2]))
            case b"busy":
                live = live_run(*(part.decode() for part in row[1:]))
                assert live  # noqa: S101  # the script answers with all three
                return live
        raise NotFound("That question is no longer kept, so it cannot be asked again in its place.")

    def end(
        self,
        chat: Chat,
        run_id: str,
        writer: str,
        ending: tuple[Outcome, str],
        reply: Message,
        events: list[Event],
        first: int,
        expected: int | None = None,
    ) -> list[Command]:
        """The commands that end a run; `ended` reads what the first one answers.

        `events` are those from number `first` on that may be missing in the log, the terminal one last. With
        `expected` they are written only when the log ends with that number.
        """
        script = END(
            (chat.key, chat.messages, chat.runs, chat.events(run_id), chat.early),
            *(run_id, writer, *ending, reply.line() if self._keeps else "", self._keep, self._life, self._replay),
            "" if expected is None else expected,
            *numbered(events, first),
        )
        return [script, *([TOUCH((index(chat.owner),), chat.id, "XX")] if self._keeps else [])]

    async def undo(self, chat: Chat, run: LiveRun) -> None:
        """Takes back a start of which we do not know whether it was carried out."""
        keys = (chat.key, chat.messages, chat.runs)
        await self._redis.call(*UNDO(keys, run.run_id, run.attempt, int(self._keeps)))

    async def read(self, chat: Chat) -> ChatState:
        """The chat with all its kept messages; no fields when it is unknown."""
        fields, lines = await self._redis.calls([("HGETALL", chat.key), ("LRANGE", chat.messages, 0, -1)])
        return ChatState(_texts(fields), [Message.read(line) for line in lines])

    async def state(self, chat: Chat) -> ChatState:
        """The chat without its messages."""
        return ChatState(_texts(await self._redis.call("HGETALL", chat.key)), [])

    async def live(self, chats: Sequence[Chat]) -> list[LiveRun | None]:
        """What runs in each of these chats."""
        rows = await self._redis.calls([("HMGET", chat.key, "run_id", "run_at", "run") for chat in chats])
        return [live_run(*(part.decode() if part else None for part in row)) for row in rows]

    async def ending(self, chat: Chat, run_id: str) -> Ending | None:
        """How this run ended, if it is known and has."""
        record = await self._redis.call("HGET", chat.runs, run_id)
        return read_ending(record)

    async def listed(self, owner: str, limit: int, offset: int) -> tuple[list[tuple[str, dict[str, str], int]], int]:
        """Chats with their fields and message counts, newest activity first, and how many there are in all."""
        await self._forget_expired(owner)
        key = index(owner)
        ids, count = await self._redis.calls([("ZREVRANGE", key, offset, offset + limit - 1), ("ZCARD", key)])
        chats = [Chat(owner, one.decode()) for one in ids]
        rows = await self._redis.calls(
            [command for chat in chats for command in (("HGETALL", chat.key), ("LLEN", chat.messages))]
        )
        pairs = zip(chats, rows[::2], rows[1::2], strict=True)
        return [(chat.id, _texts(fields), length) for chat, fields, length in pairs if fields], count

    async def rename(self, chat: Chat, title: str) -> bool:
        """Whether there was such a chat to rename."""
        return bool(await self._redis.call(*RENAME((chat.key,), title)))

    async def delete(self, chat: Chat) -> str:
        """`deleted`, `unknown`, or `running` when a run has the chat and nothing was done."""
        keys = (chat.key, chat.messages, chat.runs, chat.early, chat.events(""))
        answer: bytes = await self._redis.call(*DELETE(keys, DELETED_LOG_MS))
        if answer != b"running":
            await self._redis.call("ZREM", index(chat.owner), chat.id)
        return answer.decode()

    async def _evict(self, newest: Chat, surplus: int) -> None:
        oldest = await self._redis.call("ZRANGE", index(newest.owner), 0, surplus + 50)
        for one in oldest:
            if surplus > 0 and one.decode() != newest.id:
                surplus -= await self.delete(Chat(newest.owner, one.decode())) != "running"

    async def _forget_expired(self, owner: str) -> None:
        key = index(owner)
        seconds, _ = await self._redis.call("TIME")
        ids = await self._redis.call("ZRANGEBYSCORE", key, "-inf", (int(seconds) - self._life) * 1000)
        if ids:
            there = await self._redis.calls([("EXISTS", Chat(owner, one.decode()).key) for one in ids])
            gone = [one for one, exists in zip(ids, there, strict=True) if not exists]
            if gone:
                await self._redis.call("ZREM", key, *gone)


def ended(row: list[bytes]) -> tuple[str, Ending | None]:
    """`ended`, `moved`, or `lost` with the ending that somebody else wrote (none: the chat is gone)."""
    return row[0].decode(), read_ending(row[1]) if len(row) > 1 else None


def read_ending(record: bytes | None) -> Ending | None:
    """The ending in an entry of the runs of a chat."""
    parts = record.decode().split(" ") if record else []
    if len(parts) < 5:
        return None
    return Ending(parts[1], parts[2], int(parts[3]), parts[4])  # type: ignore[arg-type]  # written by END


def live_run(run_id: str | None, at_ms: str | None, described: str | None) -> LiveRun | None:
    """The live run in the fields of a chat."""
    if not (run_id and at_ms and described):
        return None
    return LiveRun(run_id=run_id, started_ms=int(at_ms), **json.loads(described))


def title_of(message: str) -> str:
    """The first words of a message, up to 60 characters."""
    words = " ".join(message[:400].split())
    if len(words) <= 60:
        return words
    return words[:60].rsplit(" ", 1)[0] + "…"


def _describe(run: LiveRun) -> str:
    return json.dumps({key: value for key, value in asdict(run).items() if key not in ("run_id", "started_ms")})


def _texts(fields: list[bytes] | dict[bytes, bytes]) -> dict[str, str]:
    if isinstance(fields, dict):
        return {key.decode(): value.decode() for key, value in fields.items()}
    return {fields[i].decode(): fields[i + 1].decode() for i in range(0, len(fields), 2)}
