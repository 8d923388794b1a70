"""The one door to Redis: connections, deadlines, scripts, and its errors turned into ours.

Every command that passes here may run twice (a reply can be lost after the command was carried out), so everything
that must not is a script guarded by the id of its run. That is why one client with a single retry is enough.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError

from app.errors import RedisUnavailable
from app.settings import Settings

Command = tuple[Any, ...]

COMMAND_SECONDS = 1.0
CONNECT_SECONDS = 0.7
CALL_SECONDS = 2.4  # one call with its retry; below the 3 s in which a start is refused
BLOCK_SECONDS = 2.0  # a blocking read ends well before its socket does

_AWAY = "The chat memory (Redis) does not answer right now. Nothing was changed; try again in a few seconds."
_FULL = "The chat memory (Redis) is full. Delete some chats or raise its memory limit, then try again."


class Script:
    """A Lua script and the SHA-1 by which Redis knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *args: Any) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *args)


class StorageFull(RedisUnavailable):
    """Redis refused a write because its memory is used up (`noeviction`)."""


class Connection:
    """Opened once per process by `async with`; safe for any number of tasks."""

    def __init__(self, settings: Settings, scripts: Sequence[Script]) -> None:
        self._scripts = scripts
        self._url = _url(settings)
        self._main = Redis(
            connection_pool=BlockingConnectionPool.from_url(
                self._url,
                max_connections=64,
                timeout=1,
                retry=Retry(ConstantBackoff(0.05), 1),
                **_timeouts(COMMAND_SECONDS),
            )
        )
        self._blocking = Redis(
            connection_pool=ConnectionPool.from_url(
                self._url, max_connections=512, retry=Retry(NoBackoff(), 0), **_timeouts(BLOCK_SECONDS + 3)
            )
        )
        self.bells = Redis(
            connection_pool=ConnectionPool.from_url(
                self._url, max_connections=2, retry=Retry(NoBackoff(), 0), **_timeouts(COMMAND_SECONDS)
            )
        )

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in (self._main, self._blocking, self.bells):
            await client.aclose()
            await client.connection_pool.disconnect()

    async def call(self, *command: Any) -> Any:
        """Runs one command."""
        return (await self.calls([command]))[0]

    async def calls(self, commands: Sequence[Command], *, check: bool = True) -> list[Any]:
        """Runs commands in one round trip, in order; without `check` errors are left in the list."""
        if not commands:
            return []
        try:
            async with asyncio.timeout(CALL_SECONDS):
                results = await self._execute(commands)
                if any(isinstance(result, NoScriptError) for result in results):
                    await self._execute([("SCRIPT LOAD", script.text) for script in self._scripts])
                    results = await self._execute(commands)
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisUnavailable(_AWAY) from error
        if check:
            for result in results:
                if isinstance(result, RedisError):
                    raise translated(result) from result
        return results

    async def read_stream(self, key: str, after: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """New entries of a stream behind entry `after-max`, waiting a moment for them; empty when none came."""
        try:
            async with asyncio.timeout(BLOCK_SECONDS + CALL_SECONDS):
                found: Any = await self._blocking.xread({key: f"{after}-0"}, count=200, block=int(BLOCK_SECONDS * 1000))
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisUnavailable(_AWAY) from error
        entries: list[tuple[bytes, dict[bytes, bytes]]] = found[0][1] if found else []
        return entries

    async def _execute(self, commands: Sequence[Command]) -> list[Any]:
        async with self._main.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)


def translated(error: RedisError) -> RedisUnavailable:
    """Our error for one that Redis answered with."""
    if isinstance(error, OutOfMemoryError):
        return StorageFull(_FULL)
    return RedisUnavailable(_AWAY)


def _timeouts(seconds: float) -> dict[str, Any]:
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "protocol": 2,
        "health_check_interval": 0,
    }


def _url(settings: Settings) -> str:
    if url := settings.redis_url.get_secret_value():
        return url
    password = settings.redis_password.get_secret_value()
    login = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{settings.redis_host}:{settings.redis_port}/{settings.redis_db}"
