"""Which backends live and which runs they hold.

The lease of a run is the heartbeat of the process that makes it: one key per process, however many
runs it holds. A process is known by an id made when it starts, since a restarted container keeps
its name.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from loguru import logger

from app.clock import LEASE_SECONDS, TRUST_SECONDS
from app.errors import RedisUnavailable
from app.store.commands import hold
from app.store.keys import BACKENDS, Chat, beats, held, lease
from app.store.lines import as_text
from app.store.records import LiveRun
from app.store.wire.connection import Connection
from app.store.wire.node import pairs
from app.store.wire.script import Command, command

T = TypeVar("T")


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
        self._seen: set[str] = set()  # whatever becomes of the list of all

    async def beat(self, about: dict[str, Any]) -> list[str]:
        """Renews our lease; the processes whose heartbeat has been missing twice in a row."""
        try:
            _, _, others = await self._redis.do_all(
                [
                    self.renewal(),
                    command("HSET", BACKENDS, self.process, json.dumps(about)),
                    command("HKEYS", BACKENDS),
                ]
            )
            self._seen.update(as_text(name) for name in others)
            missing = await self._without_heartbeat(sorted(self._seen))
        except RedisUnavailable:
            self._well_since, self._missing = None, set()
            raise
        self._well_since = self._well_since or time.monotonic()
        dead, self._missing = missing & self._missing, missing
        return sorted(dead) if self.trusted() else []

    def renewal(self) -> Command:
        """Describes how our lease is renewed."""
        return command("SET", lease(self.process), "1", "PX", int(LEASE_SECONDS * 1000))

    async def gone(self, process: str) -> bool:
        """Whether this process has no heartbeat, as far as that can be trusted right now."""
        return self.trusted() and bool(await self._without_heartbeat([process]))

    def trusted(self) -> bool:
        """Whether a missing heartbeat means a dead process: Redis has been well for a while."""
        return self._well_since is not None and time.monotonic() - self._well_since >= TRUST_SECONDS

    async def held(self, process: str) -> list[Held]:
        """The runs listed under a process."""
        return list(_held(await self._redis.do(command("HGETALL", held(process)))))

    async def hold_all(self, runs: Sequence[tuple[Chat, LiveRun]]) -> bool:
        """Lists these runs of ours anew where our list has lost some; whether it had."""
        if not runs or await self._redis.do(command("HLEN", held(self.process))) >= len(runs):
            return False
        await self._redis.do_all([hold(chat, run) for chat, run in runs])
        return True

    async def backends(self) -> dict[str, dict[str, Any]]:
        """What the living processes say about themselves, by process."""
        rows = await self._redis.do(command("HGETALL", BACKENDS))
        found = dict(_readable(rows, _about))
        missing = await self._without_heartbeat(list(found))
        return {process: about for process, about in found.items() if process not in missing}

    async def all_held(self) -> list[Held]:
        """The runs of all processes, also of those that have just died."""
        processes = await self._redis.do(command("HKEYS", BACKENDS))
        asked = [command("HGETALL", held(as_text(process))) for process in processes]
        rows = await self._redis.do_all(asked, check=False)
        return [run for row in rows if isinstance(row, list) for run in _held(row)]

    async def forget(self, process: str) -> None:
        """Takes a process whose runs are settled, or our own when we leave, off the lists."""
        self._seen.discard(process)
        await self._redis.do_all(
            [
                command("HDEL", BACKENDS, process),
                command("DEL", lease(process)),
                command("DEL", held(process)),
            ]
        )

    async def _without_heartbeat(self, processes: list[str]) -> set[str]:
        left = await self._redis.do_all([command("PTTL", lease(process)) for process in processes])
        return {process for process, ms in zip(processes, left, strict=True) if not beats(ms)}


def _held(rows: list[bytes]) -> Iterator[Held]:
    return (run for _, run in _readable(rows, _run))


def _run(row: dict[str, Any]) -> Held:
    return Held(Chat(str(row["owner"]), str(row["chat_id"])), str(row["run_id"]))


def _about(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"backend": str(row["backend"]), "started_at": str(row["started_at"])}


def _readable(rows: list[bytes], read: Callable[[dict[str, Any]], T]) -> Iterator[tuple[str, T]]:
    """The entries of a hash that can be read; the others harm only themselves."""
    unread = 0
    for field, row in pairs(rows):
        try:
            yield field.decode(), read(json.loads(row))
        except (ValueError, KeyError, TypeError, AttributeError):
            unread += 1
    if unread:
        logger.debug("entries=<{}> | not understood here, passed over", unread)
