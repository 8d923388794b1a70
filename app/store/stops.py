"""The stop keys: the record of every stop. The bell of a stop wakes the holder of the run, and says the
same.

`stop:<chat>` holds the id of the run meant, or a Unix timestamp where only the chat is known. It is
read first, acted on, and only then consumed (GETDEL, after a comparison in the same script), so a
reply lost on the way loses no stop.
"""

import contextlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from redis.exceptions import OutOfMemoryError, RedisError

from app.errors import RedisUnavailable
from app.settings import Settings
from app.store.bells import Bells
from app.store.keys import Chat, beats, lease, stopped
from app.store.lines import as_text
from app.store.pieces import DECODED, HOLDER, LIVES, NOW, NUMBERS
from app.store.records import LiveRun, RunRecord
from app.store.waiting import EARLY_SECONDS, HAND_BACK, WAITING, Waiting, read_all
from app.store.wire.connection import Connection, translated
from app.store.wire.script import Command, Script, command

_TIME = re.compile(r"\d{1,16}(?:\.\d{1,16})?", re.ASCII)
RECENT_MS = 2000  # a stop without a run id that comes so soon after an ending was meant for that run
RUN_STOP_SECONDS = 60  # a stop for a live run is consumed within milliseconds, or settled
HOUR_SECONDS = 3600
MOST_EARLY = 1000
MOST_NOTED = 1000

# answers what the stop meets, and rings for a live run: `channel` and `bell` are what those of its
# process begin with; `run_id` may be empty. The first stop of a live run leaves beside it when and by
# whom it was taken and the last event seen (pcall: a full Redis takes the stop all the same)
LOOK = Script(
    NOW
    + LIVES
    + DECODED
    + NUMBERS
    + HOLDER
    + WAITING
    + HAND_BACK
    + """
local back = hand_back(run_id)
local live = redis.call('HMGET', chat, 'run_id', 'run')
local held = live[1] and holder(live[2])
if held and (run_id == '' or run_id == live[1]) then
  if redis.call('HEXISTS', chat, 'asked') == 0 then
    redis.pcall('HSET', chat, 'asked', string.format('%.0f ', micros) .. backend .. ' ' .. token)
    if seen ~= '' then redis.pcall('HSET', chat, 'seen', seen) end
  end
  redis.call('PUBLISH', channel .. held.process, bell .. live[1] .. (seen ~= '' and ' ' .. seen or ''))
  return {'live', live[2], back}
end
local run = run_id
if run == '' then run = redis.call('HGET', chat, 'last_run') or '' end
local text = run ~= '' and redis.call('HGET', runs, run)
local record = decoded(text)
local ended_ms = record and tonumber(record.ended_ms)
if ended_ms and (run_id ~= '' or now - ended_ms <= tonumber(recent_ms)) then
  return {'ended', run, text, back}
end
if run_id ~= '' then
  redis.call('ZREMRANGEBYSCORE', early, '-inf', now)
  redis.call('ZREMRANGEBYRANK', early, 0, -tonumber(most_early))
  redis.call('ZADD', early, now + early_seconds * 1000, run)
  redis.call('EXPIRE', early, early_seconds)
end
return {'idle', string.format('%.3f', now / 1000), back}
""",
    keys="chat runs early queue unsent",
    args="run_id token seen backend channel bell recent_ms early_seconds most_early life",
)

# deletes the key when it still holds what was read
TAKE = Script(
    """
if redis.call('TYPE', stop).ok == 'string' and redis.call('GET', stop) == value then
  return redis.call('GETDEL', stop)
end
return false
""",
    keys="stop",
    args="value",
)

SCRIPTS = (LOOK, TAKE)


@dataclass(frozen=True, slots=True)
class Met:
    """What a stop met: a live run, one that ended before, or nothing (yet); `unsent` is what waited.

    `done`: the run has ended by this very stop, which was sent again as its answer was lost.
    """

    what: Literal["live", "ended", "idle"]
    alive: bool = True
    run: LiveRun | None = None
    run_id: str | None = None
    record: RunRecord | None = None
    done: bool = False
    unsent: list[Waiting] = field(default_factory=list)


class Stops:
    """Writes, reads and consumes stop keys. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, bells: Bells, settings: Settings, life: int) -> None:
        self._redis = connection
        self._bells = bells
        self._life = life
        self._backend = settings.backend_id
        self._grace_ms = settings.stop_grace_ms
        self._run_seconds = min(settings.stop_ttl_seconds, RUN_STOP_SECONDS)

    async def request(self, chat: Chat, run_id: str | None, seen: int | None = None) -> Met:
        """Records the stop and the last event seen, and rings the bell."""
        (met,) = await self.request_all([chat], run_id, seen)
        if isinstance(met, RedisUnavailable):
            raise met
        return met

    async def request_all(
        self, chats: Sequence[Chat], run_id: str | None = None, seen: int | None = None
    ) -> list[Met | RedisUnavailable]:
        """Records stops for many chats in two round trips; one that Redis refuses is told as that error."""
        token = uuid.uuid4().hex[:12]
        looks = [self._look(chat, run_id, seen, token) for chat in chats]
        rows = await self._redis.do_all(looks, check=len(looks) == 1)
        found = [self._met(row, run_id, token) for row in rows]
        records = [self._record(chat, *one) for chat, one in zip(chats, found, strict=True)]
        answers = iter(await self._redis.do_all([one for record in records for one in record], check=False))
        return [
            self._recorded(met, [next(answers) for _ in record])
            for (met, _), record in zip(found, records, strict=True)
        ]

    def _look(self, chat: Chat, run_id: str | None, seen: int | None, token: str) -> Command:
        channel, bell = self._bells.stop_bell_of_run(chat)
        return LOOK(
            chat=chat.key, runs=chat.runs, early=chat.early, queue=chat.queue, unsent=chat.unsent,
            run_id=run_id or "", token=token, seen="" if seen is None else seen, backend=self._backend,
            channel=channel, bell=bell, recent_ms=RECENT_MS, early_seconds=EARLY_SECONDS,
            most_early=MOST_EARLY, life=self._life,
        )  # fmt: skip

    def _met(self, row: Any, run_id: str | None, token: str) -> tuple[Met | RedisUnavailable, str]:
        """What the stop met, and the value of the key to write, empty for none."""
        if isinstance(row, RedisError):
            return translated(row), ""
        unsent = read_all(row.pop())
        match row:
            case [b"live", described] if live := LiveRun.read(described):
                return Met("live", True, live, live.run_id, unsent=unsent), live.run_id
            case [b"ended", run, text] if record := RunRecord.read(text):
                done = record.stopped_by == token
                return Met("ended", True, None, run.decode(), record, done, unsent), ""
        now = row[-1].decode() if run_id is None and self._grace_ms and row[0] == b"idle" else ""
        return Met("idle", True, None, run_id, unsent=unsent), now

    def _record(self, chat: Chat, met: Met | RedisUnavailable, value: str) -> list[Command]:
        """Describes how the key is written; behind it the bell where nothing runs, else whether the holder
        lives.
        """
        if not value or isinstance(met, RedisUnavailable):
            return []
        if met.run is None:
            written = command("SET", chat.stop, value, "PX", self._grace_ms)
            return [written, self._bells.stop_bell(chat, value)]
        written = command("SET", chat.stop, value, "EX", self._run_seconds)
        return [written, command("PTTL", lease(met.run.process))]

    def _recorded(self, met: Met | RedisUnavailable, answers: list[Any]) -> Met | RedisUnavailable:
        """A key that Redis has no room for is no failure: the bell has told the same."""
        if not answers or isinstance(met, RedisUnavailable):
            return met
        if isinstance(answers[0], RedisError) and not isinstance(answers[0], OutOfMemoryError):
            return translated(answers[0])
        return replace(met, alive=beats(answers[-1])) if met.run else met

    async def pending(self, chats: Sequence[Chat]) -> list[str | None]:
        """The values of these chats' stop keys, without consuming them."""
        values = await self._redis.values([chat.stop for chat in chats])
        return [None if value is None else as_text(value) for value in values]

    def is_fresh(self, at_ms: float, started_ms: int, before_ms: int) -> bool:
        """Whether a stop of that time means a run that has begun then, and not the one that ended before;
        what was written in whole seconds was written somewhen in that second.
        """
        latest = at_ms if at_ms % 1000 else at_ms + 999
        return latest > before_ms and abs(started_ms - at_ms) <= self._grace_ms

    async def consume(self, read: Sequence[tuple[Chat, str]]) -> None:
        """Deletes those stop keys that still hold the value that was read."""
        if read:
            await self._redis.do_all([TAKE(stop=chat.stop, value=value) for chat, value in read])

    async def note(self, owner: str, noted: dict[str, Any], at_ms: int) -> None:
        """Keeps a stop of this owner for the status page for an hour."""
        key, oldest = stopped(owner), at_ms - HOUR_SECONDS * 1000
        await self._redis.do_all(
            [
                command("ZADD", key, at_ms, json.dumps(noted | {"at": at_ms})),
                command("ZREMRANGEBYSCORE", key, "-inf", oldest),
                command("ZREMRANGEBYRANK", key, 0, -MOST_NOTED - 1),
                command("EXPIRE", key, HOUR_SECONDS),
            ]
        )

    async def noted(self, owner: str) -> list[dict[str, Any]]:
        """The stops of the last hour, newest first, at most 1000."""
        lines = await self._redis.do(command("ZREVRANGE", stopped(owner), 0, MOST_NOTED - 1))
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                stopped_run = json.loads(line)
                found.append({**stopped_run, "at": int(stopped_run["at"])})
        return found


def timestamp_ms(value: str) -> float | None:
    """The time in a stop key in milliseconds, written in seconds or milliseconds; None when it is none."""
    if not _TIME.fullmatch(value):  # float() would also read ids of runs, such as 1234_5678 or infinity
        return None
    at = float(value)
    return at if at > 1e11 else at * 1000
