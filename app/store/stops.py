"""The stop keys: the record of every stop. The bell that follows wakes the holder of the run, and says the
same.

`stop:<chat>` holds the id of the run meant, or a Unix timestamp where only the chat is known. It is read
first, acted on, and only then consumed (GETDEL, after a comparison in the same script), so a reply lost on
the way loses no stop.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import OutOfMemoryError, RedisError

from app.settings import Settings
from app.store.keys import BELLS, STOPPED, Chat, alive, bells
from app.store.records import Ending, LiveRun, live_run, read_ending
from app.store.wire.connection import Connection, Script, translated
from app.store.wire.node import Command

EARLY_SECONDS = 60  # a stop for a run that has not begun waits so long
RECENT_MS = 2000  # a stop without a run id that comes so soon after an ending was meant for that run
RUN_STOP_SECONDS = 60  # a stop for a live run is consumed within milliseconds, or settled
HOUR_SECONDS = 3600
MOST_EARLY = 1000

# ARGV: run id or ''; answers what the stop meets
LOOK = Script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local live = redis.call('HMGET', KEYS[1], 'run_id', 'run_at', 'run')
if live[1] and (ARGV[1] == '' or ARGV[1] == live[1]) then return {'live', live[1], live[2], live[3]} end
local run = ARGV[1]
if run == '' then run = redis.call('HGET', KEYS[1], 'last_run') or '' end
local record = run ~= '' and redis.call('HGET', KEYS[2], run)
if record then
  local ended = tonumber(string.match(record, '^%S+ %S+ %S+ (%d+)'))
  if ended and (ARGV[1] ~= '' or now - ended <= tonumber(ARGV[2])) then return {'ended', run, record} end
end
if ARGV[1] ~= '' then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -tonumber(ARGV[4]))
  redis.call('ZADD', KEYS[3], now + ARGV[3] * 1000, run)
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
return {'idle', string.format('%.3f', now / 1000)}
"""
)

# deletes the key when it still holds what was read
TAKE = Script(
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('GETDEL', KEYS[1]) end return false"
)

SCRIPTS = (LOOK, TAKE)


@dataclass(frozen=True, slots=True)
class Met:
    """What a stop met: a live run, one that ended before, or nothing (yet)."""

    what: Literal["live", "ended", "idle"]
    alive: bool = True
    run: LiveRun | None = None
    run_id: str | None = None
    ending: Ending | None = None


class Stops:
    """Writes, reads and consumes stop keys. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._redis = connection
        self._grace_ms = settings.stop_grace_ms
        self._run_seconds = min(settings.stop_ttl_seconds, RUN_STOP_SECONDS)

    async def request(self, chat: Chat, run_id: str | None) -> Met:
        """Records the stop, then rings the bell."""
        row = await self._redis.call(
            *LOOK((chat.key, chat.runs, chat.early), run_id or "", RECENT_MS, EARLY_SECONDS, MOST_EARLY)
        )
        if row[0] == b"live":
            live = live_run(*(part.decode() for part in row[1:]))
            assert live  # noqa: S101  # the script answers with all three
            channel, beat = bells(live.process), ("EXISTS", alive(live.process))
            (beats,) = await self._record(chat, live.run_id, "EX", self._run_seconds, channel, beat)
            return Met("live", bool(beats), live, live.run_id)
        if row[0] == b"ended":
            return Met("ended", True, None, row[1].decode(), read_ending(row[2]))
        if run_id is None and self._grace_ms:
            await self._record(chat, row[1].decode(), "PX", self._grace_ms, BELLS)
        return Met("idle", True, None, run_id)

    async def _record(
        self, chat: Chat, value: str, unit: str, life: int, channel: str, *also: Command
    ) -> list[Any]:
        """Writes the key and rings; answers what `also` does."""
        written, _, *answers = await self._redis.calls(
            [("SET", chat.stop, value, unit, life), ("PUBLISH", channel, f"stop {chat.name} {value}"), *also],
            check=False,
        )
        if isinstance(written, RedisError) and not isinstance(written, OutOfMemoryError):
            raise translated(written)
        return answers

    async def pending(self, chats: Sequence[Chat]) -> list[str | None]:
        """The values of these chats' stop keys, without consuming them."""
        values = await self._redis.values([chat.stop for chat in chats])
        return [None if value is None else value.decode("utf-8", "replace") for value in values]

    async def at_start(self, chat: Chat, value: str, started_ms: int) -> bool:
        """Whether a timestamp found when a run began is fresh enough to end it; a stale one is removed."""
        at_ms = timestamp_ms(value)
        if at_ms is not None and -self._grace_ms <= started_ms - at_ms <= self._grace_ms:
            return True
        await self.consume([(chat, value)])
        return False

    async def consume(self, read: Sequence[tuple[Chat, str]]) -> None:
        """Deletes those stop keys that still hold the value that was read."""
        if read:
            await self._redis.calls([self.taken(chat, value) for chat, value in read])

    def taken(self, chat: Chat, value: str) -> Command:
        """The command that consumes a stop key if it still holds this value."""
        return TAKE((chat.stop,), value)

    async def note(self, stopped: dict[str, Any], at_ms: int) -> None:
        """Keeps a stop for the status page for an hour."""
        oldest = at_ms - HOUR_SECONDS * 1000
        await self._redis.calls(
            [
                ("ZADD", STOPPED, at_ms, json.dumps(stopped | {"at": at_ms})),
                ("ZREMRANGEBYSCORE", STOPPED, "-inf", oldest),
                ("ZREMRANGEBYRANK", STOPPED, 0, -1001),
                ("EXPIRE", STOPPED, HOUR_SECONDS),
            ]
        )

    async def noted(self) -> list[dict[str, Any]]:
        """The stops of the last hour, newest first, at most 1000."""
        return [json.loads(line) for line in await self._redis.call("ZREVRANGE", STOPPED, 0, -1)]


def timestamp_ms(value: str) -> float | None:
    """The time in a stop key in milliseconds, written in seconds or milliseconds; None when it is none."""
    try:
        at = float(value)
    except ValueError:
        return None
    return at if at > 1e11 else at * 1000
