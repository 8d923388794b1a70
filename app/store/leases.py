"""Which backends live and which runs they hold.

The lease of a run is the heartbeat of the process that makes it: one key per process, however many runs it
holds. A process is known by an id made when it starts, since a restarted container keeps its name.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

from app.errors import RedisUnavailable
from app.store.keys import BACKENDS, Chat, alive, held
from app.store.records import LiveRun
from app.store.wire.connection import Connection
from app.store.wire.node import Command, pairs

LEASE_MS = 9000
HEARTBEAT_SECONDS = 2.0
TRUST_SECONDS = 2 * HEARTBEAT_SECONDS  # after Redis was away, this long everybody may heartbeat again


@dataclass(frozen=True, slots=True)
class Held:
    """A run in the list of its process; it may not have begun yet, or have ended already."""

    chat: Chat
    run_id: str


class Leases:
    """Heartbeats, and who holds what. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, process: str) -> None:
        self._redis = connection
        self.process = process
        self._well_since: float | None = None
        self._missing: set[str] = set()

    async def beat(self, about: dict[str, Any]) -> list[str]:
        """Renews our lease; the processes whose heartbeat has been missing twice in a row."""
        try:
            _, _, others = await self._redis.calls(
                [
                    ("SET", alive(self.process), "1", "PX", LEASE_MS),
                    ("HSET", BACKENDS, self.process, json.dumps(about)),
                    ("HKEYS", BACKENDS),
                ]
            )
            missing = await self._without_heartbeat([name.decode() for name in others])
        except RedisUnavailable:
            self._well_since, self._missing = None, set()
            raise
        self._well_since = self._well_since or time.monotonic()
        dead, self._missing = missing & self._missing, missing
        return sorted(dead) if self.trusted() else []

    async def _without_heartbeat(self, processes: list[str]) -> set[str]:
        beats = await self._redis.calls([("EXISTS", alive(process)) for process in processes])
        return {process for process, there in zip(processes, beats, strict=True) if not there}

    async def gone(self, process: str) -> bool:
        """Whether this process has no heartbeat, as far as that can be trusted right now."""
        return self.trusted() and bool(await self._without_heartbeat([process]))

    def trusted(self) -> bool:
        """Whether a missing heartbeat means a dead process: Redis has been well for a while."""
        return self._well_since is not None and time.monotonic() - self._well_since >= TRUST_SECONDS

    def hold(self, chat: Chat, run: LiveRun) -> Command:
        """The command that lists a run under our process, before it begins."""
        about = {"owner": chat.owner, "chat_id": chat.id, "run_id": run.run_id}
        return ("HSET", held(self.process), run.attempt, json.dumps(about))

    @staticmethod
    def release(run: LiveRun) -> Command:
        """The command that takes a run off the list of its process."""
        return ("HDEL", held(run.process), run.attempt)

    async def held(self, process: str) -> list[Held]:
        """The runs listed under a process."""
        return _held(await self._redis.call("HGETALL", held(process)))

    async def backends(self) -> dict[str, dict[str, Any]]:
        """What the living processes say about themselves, by process."""
        rows = await self._redis.call("HGETALL", BACKENDS)
        found = {process.decode(): json.loads(row) for process, row in pairs(rows)}
        missing = await self._without_heartbeat(list(found))
        return {process: about for process, about in found.items() if process not in missing}

    async def all_held(self) -> list[Held]:
        """The runs of all processes, also of those that have just died."""
        processes = await self._redis.call("HKEYS", BACKENDS)
        rows = await self._redis.calls([("HGETALL", held(process.decode())) for process in processes])
        return [run for row in rows for run in _held(row)]

    async def forget(self, process: str) -> None:
        """Takes a process whose runs are settled, or our own when we leave, off the lists."""
        await self._redis.calls(
            [("HDEL", BACKENDS, process), ("DEL", alive(process)), ("DEL", held(process))]
        )


def _held(rows: list[bytes]) -> list[Held]:
    found = [json.loads(row) for _, row in pairs(rows)]
    return [Held(Chat(row["owner"], row["chat_id"]), row["run_id"]) for row in found]
