"""Tool calls that wait for a person, and what was answered: the record. The bell that follows wakes
the holder of the run.

The hash `chat:{name}:approvals` holds the calls of the run that asked last, each as `<attempt>
<tool> <JSON>`, and beside it, as `<call>:answer`, the first answer that came: `allowed once`,
`refused chat`, …, or `lapsed`. What holds for the whole chat stands in the chat's own hash
(`may:<tool>`) and goes with it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from app.store.bells import Bells
from app.store.keys import Chat
from app.store.lines import as_text
from app.store.records import LiveRun
from app.store.wire.connection import Connection
from app.store.wire.node import pairs
from app.store.wire.script import Script, command

Answer = Literal["allowed", "refused", "lapsed"]
Lasting = Literal["once", "chat"]
_LASTING = b"may:"
_ANSWERS: dict[bytes, tuple[Answer, Lasting]] = {
    b"allowed once": ("allowed", "once"),
    b"allowed chat": ("allowed", "chat"),
    b"refused once": ("refused", "once"),
    b"refused chat": ("refused", "chat"),
}

# puts a call in that is not there yet, and answers what was answered; with `lapse` its time is up
ASK = Script(
    """
if redis.call('HGET', chat, 'attempt') ~= attempt then return 'over' end
if redis.call('HGET', approvals, ':attempt') ~= attempt then
  redis.call('DEL', approvals)
  redis.call('HSET', approvals, ':attempt', attempt)
end
redis.call('HSETNX', approvals, call, attempt .. ' ' .. tool .. ' ' .. asked)
redis.call('EXPIRE', approvals, life)
local answer = redis.call('HGET', approvals, call .. ':answer')
if not answer then
  answer = redis.call('HGET', chat, 'may:' .. tool) or (lapse == '1' and 'lapsed')
  if answer then redis.call('HSET', approvals, call .. ':answer', answer) end
end
return answer or ''
""",
    keys="chat approvals",
    args="call attempt tool asked life lapse",
)

# the first answer counts; a second time it finds its own
ANSWER = Script(
    """
local attempt, tool, asked = string.match(redis.call('HGET', approvals, call) or '', '^(%S+) (%S+) (.*)$')
if not attempt then return {'unknown'} end
local given = redis.call('HGET', approvals, call .. ':answer')
if not given then
  if redis.call('HGET', chat, 'attempt') ~= attempt then return {'over'} end
  given = answer .. ' ' .. lasting
  redis.call('HSET', approvals, call .. ':answer', given)
  if lasting == 'chat' then redis.call('HSET', chat, 'may:' .. tool, given) end
  redis.call('PUBLISH', channel, bell)
end
return {'answered', asked, given}
""",
    keys="chat approvals",
    args="call answer lasting channel bell",
    lasting=True,
)


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A call that waits for a person, as everybody may see it. Times in milliseconds since 1970."""

    tool_use_id: str
    name: str
    run_id: str
    input: Any
    asked_ms: int
    lapses_ms: int
    parent: str | None = None

    @classmethod
    def read(cls, text: bytes) -> "AskedCall | None":
        """None where what stands there cannot be read; what another version adds is left out."""
        try:
            told, names = json.loads(text), {one.name for one in fields(cls)}
            return cls(**{name: value for name, value in told.items() if name in names})
        except (ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered, by whoever came first; `lapsed`: nobody had in time."""

    call: AskedCall
    answer: Answer
    lasting: Lasting


class Approvals:
    """Asks and answers. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, bells: Bells) -> None:
        self._redis = connection
        self._bells = bells

    async def question(
        self, chat: Chat, run: LiveRun, call: AskedCall, *, life: int, lapse: bool = False
    ) -> Answer | None:
        """What was answered; None while nobody has. Asking again changes nothing, and keeps the question
        for `life` seconds. A run that lost its chat is told `lapsed`.
        """
        script = ASK(
            chat=chat.key, approvals=chat.approvals, call=call.tool_use_id, attempt=run.attempt,
            tool=call.name, asked=json.dumps(asdict(call)), life=life, lapse=str(int(lapse)),
        )  # fmt: skip
        word = await self._redis.do(script)
        return _answered(word)[0] if word else None

    async def decide(
        self, chat: Chat, tool_use_id: str, answer: Answer, lasting: Lasting
    ) -> Answered | Literal["unknown", "over"]:
        """Answers a call and rings; what counts is the first answer. `over`: its run has ended before."""
        channel, bell = self._bells.answer_bell(chat)
        script = ANSWER(
            chat=chat.key, approvals=chat.approvals, call=tool_use_id, answer=answer, lasting=lasting,
            channel=channel, bell=bell,
        )  # fmt: skip
        match await self._redis.do(script):
            case [b"answered", asked, given] if call := AskedCall.read(asked):
                return Answered(call, *_answered(given))
            case [b"over"]:
                return "over"
        return "unknown"

    async def all_asked(self, chat: Chat, tool_use_ids: Sequence[str]) -> bool:
        """Whether each of these calls is there, answered or not."""
        rows = await self._redis.do(command("HMGET", chat.approvals, *tool_use_ids)) if tool_use_ids else []
        return all((row or b"").count(b" ") > 1 for row in rows)  # the other fields have one at most

    async def lasting(self, chat: Chat) -> dict[str, Answer]:
        """What was answered for the whole chat, by tool."""
        found = dict(pairs(await self._redis.do(command("HGETALL", chat.key))))
        return {
            as_text(name.removeprefix(_LASTING)): _answered(given)[0]
            for name, given in sorted(found.items())
            if name.startswith(_LASTING)
        }

    async def forget_lasting(self, chat: Chat, tool: str | None = None) -> list[str]:
        """Forgets what was answered for the whole chat, for `tool` or for all; the tools concerned."""
        found = [name for name in await self.lasting(chat) if tool in {None, name}]
        if found:
            await self._redis.do(command("HDEL", chat.key, *(_LASTING + name.encode() for name in found)))
        return found

    async def waiting(self, chats: Sequence[tuple[Chat, LiveRun]]) -> list[list[AskedCall]]:
        """The calls of these runs that wait for a person, oldest first."""
        rows = await self._redis.do_all(
            [command("HGETALL", chat.approvals) for chat, _ in chats], check=False
        )
        return [
            _unanswered(dict(pairs(row)), run.attempt) if isinstance(row, list) else []
            for row, (_, run) in zip(rows, chats, strict=True)
        ]


def _answered(given: bytes) -> tuple[Answer, Lasting]:
    """What was answered, and for how long; what cannot be read agrees to nothing."""
    return _ANSWERS.get(given, ("lapsed", "once"))


def _unanswered(row: dict[bytes, bytes], attempt: str) -> list[AskedCall]:
    found = []
    for name, value in row.items():
        by, _, rest = value.partition(b" ")
        if b":" in name or by != attempt.encode() or name + b":answer" in row:
            continue
        if call := AskedCall.read(rest.partition(b" ")[2]):
            found.append(call)
    return sorted(found, key=lambda call: call.asked_ms)
