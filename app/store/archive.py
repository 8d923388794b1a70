"""Chats that come from a file: each is put in as a whole, or not at all when its id is taken."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.errors import TooLarge
from app.settings import Settings
from app.store.keys import Chat, index
from app.store.lines import as_text
from app.store.memory import MOST_CHAT_BYTES
from app.store.pieces import LIVES, MOST_RUNS, NOW, NUMBERS
from app.store.records import Message
from app.store.versions import MOST_VERSIONS, VERSIONS
from app.store.wire.connection import Connection
from app.store.wire.script import Script, command

TRIES = 20
CUT = "max_tokens"  # a reply that ended so can go on
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}

# the tail: fields of the hash and their values, `=`, then what the chat holds by threes: `message`
# and its line, `run` with its id and record, `version` with its number and what the hash says of
# it, or the number of a version and one of its lines. A second time it finds its own chat, while
# that is as it was put in
PUT_IN = Script(
    NOW
    + LIVES
    + NUMBERS
    + VERSIONS
    + """
if redis.call('EXISTS', chat) == 1 then
  local known = redis.call('HMGET', chat, 'brought', 'updated_at')
  return known[2] and known[1] == token .. ' ' .. known[2] and known[2] or ''
end
redis.call('DEL', messages, runs, ids, versions)
if tonumber(updated_at) > now then updated_at = stamp end -- else it would outlive its place in the list
redis.call('HSET', chat, 'brought', token .. ' ' .. updated_at, 'updated_at', updated_at)
local at = tail
while ARGV[at] ~= '=' do
  redis.call('HSET', chat, ARGV[at], ARGV[at + 1])
  at = at + 2
end
local bytes, weights = 0, {}
for at = at + 1, #ARGV, 3 do
  local kind, one, other = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if kind == 'run' then
    redis.call('HSET', runs, one, other)
    redis.call('RPUSH', ids, one)
  elseif kind == 'message' then
    redis.call('RPUSH', messages, one)
    bytes = bytes + #one
  elseif kind == 'version' then
    redis.call('DEL', lines_of(one))
    redis.call('HSET', versions, one, other)
  else
    redis.call('RPUSH', lines_of(kind), one)
    weights[kind] = (weights[kind] or 0) + #one
  end
end
for version, weight in pairs(weights) do
  redis.call('HSET', versions, version .. ':bytes', weight)
  bytes = bytes + weight
end
redis.call('HSET', chat, 'bytes', bytes)
lives({chat, messages, runs, ids, versions, files}, life)
lives(all_lists(), life)
return updated_at
""",
    keys="chat messages runs ids versions files",
    args="token updated_at life",
    tail=True,
)


@dataclass(frozen=True, slots=True)
class Told:
    """A message as a file tells it, and the versions of what stood in its place: numbers and messages."""

    message: Message
    versions: Sequence[tuple[int, Sequence["Told"]]] = ()


@dataclass(slots=True)
class Content:
    """What a chat holds, as it is put in."""

    messages: list[Message] = field(default_factory=list)
    versions: list["Older"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Older:
    """A version: what stood at `place`, where the question `mark` stands now."""

    number: int
    mark: str
    place: int
    messages: Sequence[Message]

    @property
    def lines(self) -> list[str]:
        return [message.line() for message in self.messages]


class Archive:
    """Puts chats in. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._redis = connection
        self._keep = settings.memory_keep_messages
        self._life = settings.memory_ttl_min * 60

    async def all_ids(self, owner: str) -> list[str]:
        """The ids of an owner's chats, the one that was used least recently first."""
        names = await self._redis.do(command("ZRANGE", index(owner), 0, -1))
        return [as_text(name) for name in names]

    async def put_in(
        self, chat: Chat, fields: Mapping[str, str], updated_ms: int, told: Sequence[Told], token: str
    ) -> Chat:
        """Puts a chat in, what of it may be kept; under another id when its own is taken.

        `fields` are those of its hash, an empty one is left out; what is put in again under the
        same `token` finds itself. Answers the chat as it is now. Raises `TooLarge` for a last message
        that is more than a chat may hold.
        """
        content = self._fitting(told)
        about = {name: value for name, value in {**fields, **_as_fields(content)}.items() if value}
        tail = [part for pair in about.items() for part in pair] + ["="] + _by_threes(content)
        for number in range(1, TRIES + 1):
            named = _named(chat, number)
            script = PUT_IN(
                *tail,
                chat=named.key, messages=named.messages, runs=named.runs, ids=named.ids,
                versions=named.versions, files=named.files, token=token, updated_at=updated_ms,
                life=self._life,
            )  # fmt: skip
            listed = command("ZADD", index(chat.owner), "NX", updated_ms, named.id)  # in the same step
            if at := (await self._redis.do_all([script, listed]))[0]:
                await self._redis.do(command("ZADD", index(chat.owner), at, named.id))
                break
        return named

    async def brought(self, chat: Chat, token: str) -> Chat | None:
        """The chat that was put in under this token, whatever its id is now; first one as it came."""
        names = [_named(chat, number) for number in range(1, TRIES)]
        asked = [command("HMGET", one.key, "brought", "updated_at") for one in names]
        rows = await self._redis.do_all(asked, check=False)
        found = {}
        for one, row in zip(names, rows, strict=True):
            by, at = (as_text(row[0] or b"").split(" "), row[1]) if isinstance(row, list) else ([], None)
            if by[:1] == [token]:
                found[len(by) > 1 and at == by[1].encode()] = one
        return found.get(True) or found.get(False)

    def _fitting(self, told: Sequence[Told]) -> Content:
        """The newest messages and versions that may be kept: the oldest versions go first."""
        content = Content()
        messages = _flat(told, 0, content.versions)
        dropped = max(0, len(messages) - self._keep)
        content.messages = messages[dropped:]
        kept = {
            one.number: replace(one, place=one.place - dropped)
            for one in content.versions
            if one.place >= dropped
        }
        content.versions = [kept[number] for number in sorted(kept)[-MOST_VERSIONS:]]
        weights = [sum(len(line.encode()) for line in one.lines) for one in content.versions]
        lines = [len(message.line().encode()) for message in content.messages]
        while sum(weights) + sum(lines) > MOST_CHAT_BYTES:
            if weights:
                del weights[0], content.versions[0]
            else:
                del lines[0], content.messages[0]
        if not content.messages:
            raise TooLarge("Its last message is larger than a chat may be.")
        return content


def _flat(told: Sequence[Told], place: int, versions: list[Older]) -> list[Message]:
    """The messages, and into `versions` what stood in the place of any of them; the first is at `place`."""
    found = []
    for at, one in enumerate(told, place):
        message = one.message
        if not message.run_id:
            message = replace(message, mark=f"~{uuid.uuid4().hex}")
        for number, older in one.versions:
            messages = _flat(older, at, versions)
            versions.append(Older(number, message.mark or message.run_id or "", at, messages))
        found.append(message)
    return found


def _as_fields(content: Content) -> dict[str, str]:
    """What the hash of a chat with this content says of it."""
    last = content.messages[-1].run_id
    version = max((one.number for one in content.versions), default=0)
    return {"last_run": last or "", "version": str(version or "")}


def _by_threes(content: Content) -> list[str]:
    """As the script takes it."""
    found = []
    for run_id, record in [*_records(content).items()][-MOST_RUNS:]:
        found += ["run", run_id, json.dumps(record)]
    for message in content.messages:
        found += ["message", message.line(), ""]
    for one in content.versions:
        found += ["version", str(one.number), f"{one.mark} {one.place}"]
        for line in one.lines:
            found += [str(one.number), line, ""]
    return found


def _records(content: Content) -> dict[str, dict[str, object]]:
    """What is known of the runs that asked these questions, those that stand in the chat last."""
    found: dict[str, dict[str, object]] = {}
    parts = [(one.place, one.messages) for one in content.versions]
    for place, messages in [*parts, (0, content.messages)]:
        for at, message in enumerate(messages, place):
            if not message.run_id:
                continue
            known = found.get(message.run_id, {"digest": "", "place": at, "outcome": "done"})
            if message.outcome:
                known["outcome"] = message.outcome
                known["open"] = message.outcome != "done" or (message.facts or {}).get("stop_reason") == CUT
            found.pop(message.run_id, None)
            found[message.run_id] = known
    return found


def _named(chat: Chat, number: int) -> Chat:
    return chat if number == 1 else Chat(chat.owner, f"{chat.id[:100]}-{_suffix(number)}")


def _suffix(number: int) -> str:
    return str(number) if number < TRIES else uuid.uuid4().hex


def one_line(body: dict[str, object]) -> bytes:
    """A chat as one line of the file, also for readers to whom other characters end one."""
    written = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return written.translate(_LINE_ENDS).encode() + b"\n"
