"""The one door to Redis: the choice of the set-up, deadlines, scripts, and its errors turned into ours.

Every command that passes here may run twice (a reply can be lost after the command was carried out), so
everything that must not is a script guarded by the id of its run. That is why a plain retry is enough, also
after a failover.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError

from app.errors import RedisUnavailable
from app.redis_url import Place, read
from app.settings import Settings
from app.store.wire.cluster import Cluster
from app.store.wire.node import BLOCK_SECONDS, Command, Entries, Guarded, Lasting, Node, direct

# RuntimeError: what uvloop says when a command meets a connection that is just being closed
TROUBLE = (RedisError, OSError, TimeoutError, RuntimeError)
CALL_SECONDS = 2.4  # one call with its retries; below the 3 s in which a start is refused

_AWAY = "The chat memory (Redis) does not answer right now. Nothing was changed; try again in a few seconds."
_FULL = "The chat memory (Redis) is full. Delete some chats or raise its memory limit, then try again."


class Script:
    """A Lua script and the SHA-1 by which Redis knows it; all its keys share a hash tag.

    What a `lasting` one has answered survives the death of a primary that has a replica.
    """

    def __init__(self, text: str, *, lasting: bool = False) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._kind = Lasting if lasting else tuple

    def __call__(self, keys: Sequence[str], *args: Any) -> Command:
        return self._kind(("EVALSHA", self.sha, len(keys), *keys, *args))


class StorageFull(RedisUnavailable):
    """Redis refused a write because its memory is used up (`noeviction`)."""


class Servers(Protocol):
    """One Redis (`Node`, `Guarded`) or many (`Cluster`).

    `spread` when one command cannot take keys of two chats.
    """

    @property
    def spread(self) -> bool: ...
    @property
    def bells(self) -> Redis: ...
    async def execute(self, commands: Sequence[Command], *, each_alone: bool = False) -> list[Any]: ...
    async def everywhere(self, commands: Sequence[Command]) -> None: ...
    async def read_stream(self, key: str, after: int) -> Entries: ...
    async def aclose(self) -> None: ...


class Connection:
    """Opened once per process by `async with`; safe for any number of tasks."""

    def __init__(self, settings: Settings, scripts: Sequence[Script]) -> None:
        self._scripts = scripts
        self._servers = _servers(_place(settings))

    @property
    def bells(self) -> Redis:
        """The client that listens to the bells; asked anew for each link."""
        return self._servers.bells

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._servers.aclose()

    async def call(self, *command: Any) -> Any:
        """Runs one command."""
        return (await self.calls([command]))[0]

    async def calls(self, commands: Sequence[Command], *, check: bool = True) -> list[Any]:
        """Runs commands in one round trip, in order; without `check` errors are left in the list.

        On a cluster the order holds for the first command against all others, and with `check` only.
        """
        if not commands:
            return []
        try:
            async with asyncio.timeout(CALL_SECONDS):
                results = await self._servers.execute(commands, each_alone=not check)
                if any(isinstance(result, NoScriptError) for result in results):
                    await self._servers.everywhere([("SCRIPT LOAD", script.text) for script in self._scripts])
                    results = await self._servers.execute(commands, each_alone=not check)
        except TROUBLE as error:
            raise RedisUnavailable(_AWAY) from error
        if check:
            for result in results:
                if isinstance(result, RedisError):
                    raise translated(result) from result
        return results

    async def values(self, keys: Sequence[str]) -> list[bytes | None]:
        """The strings under these keys, in one round trip."""
        if self._servers.spread:
            return await self.calls([("GET", key) for key in keys])
        values: list[bytes | None] = await self.call("MGET", *keys)
        return values

    async def info(self) -> dict[str, str]:
        """What Redis says about itself; one node's words on a cluster."""
        lines = (await self.call("INFO", "everything")).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    async def read_stream(self, key: str, after: int) -> Entries:
        """New entries of a stream behind number `after`, waiting a moment for them; empty when none came."""
        try:
            async with asyncio.timeout(BLOCK_SECONDS + CALL_SECONDS):
                return await self._servers.read_stream(key, after)
        except TROUBLE as error:
            raise RedisUnavailable(_AWAY) from error


def translated(error: RedisError) -> RedisUnavailable:
    """Our error for one that Redis answered with."""
    if isinstance(error, OutOfMemoryError):
        return StorageFull(_FULL)
    return RedisUnavailable(_AWAY)


def _servers(place: Place) -> Servers:
    match place.kind:
        case "sentinel":
            return Guarded(place)
        case "cluster":
            return Cluster(
                place.hosts, lambda address: Node(direct(place, address), retries=0, replicated=True)
            )
        case _:
            return Node(direct(place))


def _place(settings: Settings) -> Place:
    if url := settings.redis_url.get_secret_value():
        return read(url)
    password = settings.redis_password.get_secret_value()
    login = f":{quote(password, safe='')}@" if password else ""
    return Place("one", f"redis://{login}{settings.redis_host}:{settings.redis_port}/{settings.redis_db}")
