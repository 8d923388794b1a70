"""One Redis as a set of redis-py clients, reached directly or through Sentinels. Knows no key and no error of ours.

The deadlines are set here and win over the URL.
"""

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ConstantBackoff, NoBackoff

from app.redis_url import Address, Place

Command = tuple[Any, ...]
Entries = list[tuple[bytes, dict[bytes, bytes]]]
Pool = Callable[..., BlockingConnectionPool]

COMMAND_SECONDS = 1.0
CONNECT_SECONDS = 0.7
SENTINEL_SECONDS = 0.4  # for each Sentinel asked; the one that answered is asked first the next time
BLOCK_SECONDS = 2.0  # a blocking read ends well before its socket does
WAIT_SECONDS = 2.0  # for a free connection: a burst of starts shares them
RETRY_SECONDS = 0.05
REPLICA_MS = 200  # so long a write that must last waits for a replica; without any it counts all the same


class Lasting(tuple[Any, ...]):
    """A command that is answered only when a replica has it too, so that no failover takes it back."""

    __slots__ = ()


class Node:
    """One Redis: a client for commands, one for reads that block, one for pub/sub, each with its own connections."""

    spread = False

    def __init__(self, pool: Pool, *, retries: int = 1, replicated: bool = False) -> None:
        self._replicated = replicated
        again = Retry(ConstantBackoff(RETRY_SECONDS), retries)
        self._main = Redis(connection_pool=pool(max_connections=64, **_patience(COMMAND_SECONDS) | {"retry": again}))
        self._blocking = Redis(connection_pool=pool(max_connections=512, **_patience(BLOCK_SECONDS + 3)))
        self.bells = Redis(connection_pool=pool(max_connections=2, **_patience(COMMAND_SECONDS)))

    async def execute(self, commands: Sequence[Command], *, each_alone: bool = False) -> list[Any]:  # noqa: ARG002
        """Runs commands in order in one round trip; errors that Redis answers are left in the list."""
        async with self._main.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            if self._replicated and any(isinstance(command, Lasting) for command in commands):
                pipeline.execute_command("WAIT", 1, REPLICA_MS)
            return (await pipeline.execute(raise_on_error=False))[: len(commands)]

    async def everywhere(self, commands: Sequence[Command]) -> None:
        """Runs commands on every server that takes writes: this one."""
        await self.execute(commands)

    async def read_stream(self, key: str, after: int) -> Entries:
        """New entries of a stream behind `after-max`, waiting for them up to `BLOCK_SECONDS`."""
        found: Any = await self._blocking.xread({key: f"{after}-0"}, count=200, block=int(BLOCK_SECONDS * 1000))
        entries: Entries = found[0][1] if found else []
        return entries

    async def aclose(self) -> None:
        """Closes every connection."""
        for client in (self._main, self._blocking, self.bells):
            await client.aclose()
            await client.connection_pool.disconnect()


class Guarded(Node):
    """The Redis that Sentinels name as primary; they are asked before each new connection."""

    def __init__(self, place: Place) -> None:
        options: dict[str, Any] = dict(parse_url(place.url))
        del options["host"], options["port"]
        tls = options.pop("connection_class", None) is SSLConnection
        secure = {"ssl": tls} | {name: value for name, value in options.items() if name.startswith("ssl_")}
        theirs = _timeouts(SENTINEL_SECONDS, SENTINEL_SECONDS) | secure | place.sentinel_login
        self._sentinels = Sentinel(place.hosts, sentinel_kwargs=theirs)  # type: ignore[no-untyped-call]
        super().__init__(self._pool(place.service, options | {"ssl": tls}), replicated=True)

    def _pool(self, service: str, options: dict[str, Any]) -> Pool:
        return lambda **ours: _GuardedPool(service, self._sentinels, **(options | ours))  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        """Closes every connection, also those to the Sentinels."""
        await super().aclose()
        await self._sentinels.aclose()


class _GuardedPool(SentinelConnectionPool, BlockingConnectionPool):
    """Sentinel's pool, in which one waits for a free connection."""


def direct(place: Place, address: Address | None = None) -> Pool:
    """Makes pools of connections to the place itself, or to another address with the same login and options."""
    options: dict[str, Any] = dict(parse_url(place.url))
    if address:
        options["host"], options["port"] = address
    return lambda **ours: BlockingConnectionPool(**(options | ours))


def _patience(seconds: float) -> dict[str, Any]:
    return {"timeout": WAIT_SECONDS, **_timeouts(seconds, CONNECT_SECONDS)}


def _timeouts(seconds: float, connect: float) -> dict[str, Any]:
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": connect,
        "socket_keepalive": True,
        "protocol": 2,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
    }
