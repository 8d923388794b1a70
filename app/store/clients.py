"""The clients of redis-py that every set-up is made of, and the choice of the set-up. Knows no command of ours.

Deadlines are set here and cannot be changed by the URL.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ConstantBackoff, NoBackoff

from app.redis_url import Address, Place, read
from app.settings import Settings

Command = tuple[Any, ...]
Entries = list[tuple[bytes, dict[bytes, bytes]]]
Pool = Callable[..., BlockingConnectionPool]

COMMAND_SECONDS = 1.0
CONNECT_SECONDS = 0.7
SENTINEL_SECONDS = 0.4
BLOCK_SECONDS = 2.0  # a blocking read ends well before its socket does
RETRY_SECONDS = 0.05


class Servers(Protocol):
    """What a set-up can do: `Node` for one Redis, also behind Sentinel, or `Cluster`."""

    spread: bool
    """Whether keys lie on several servers, so that no command may take keys of two chats."""

    async def execute(self, commands: Sequence[Command], *, each_alone: bool = False) -> list[Any]:
        """The answers in order, errors among them; with `each_alone` the commands do not depend on one another."""

    async def everywhere(self, commands: Sequence[Command]) -> None:
        """Runs commands on every server that answers writes."""

    async def read_stream(self, key: str, after: int) -> Entries:
        """New entries behind `after-max`, waiting for them up to `BLOCK_SECONDS`."""

    @property
    def bells(self) -> "Redis":
        """A client whose pub/sub hears everything."""

    async def aclose(self) -> None:
        """Closes every connection."""


class Node:
    """One Redis: a client for commands, one for reads that block, one for pub/sub, each with its own connections."""

    spread = False

    def __init__(self, pool: Pool, *, retries: int = 1) -> None:
        again = Retry(ConstantBackoff(RETRY_SECONDS), retries)
        self._main = Redis(connection_pool=pool(max_connections=64, retry=again, **_timeouts(COMMAND_SECONDS)))
        self._blocking = Redis(connection_pool=pool(max_connections=512, **_timeouts(BLOCK_SECONDS + 3)))
        self.bells = Redis(connection_pool=pool(max_connections=2, **_timeouts(COMMAND_SECONDS)))

    async def execute(self, commands: Sequence[Command], *, each_alone: bool = False) -> list[Any]:  # noqa: ARG002
        async with self._main.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)

    async def everywhere(self, commands: Sequence[Command]) -> None:
        await self.execute(commands)

    async def read_stream(self, key: str, after: int) -> Entries:
        found: Any = await self._blocking.xread({key: f"{after}-0"}, count=200, block=int(BLOCK_SECONDS * 1000))
        entries: Entries = found[0][1] if found else []
        return entries

    async def aclose(self) -> None:
        for client in (self._main, self._blocking, self.bells):
            await client.aclose()
            await client.connection_pool.disconnect()


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Asks the Sentinels for the primary before each new connection, and waits for a free one."""


class Guarded(Node):
    """The Redis that Sentinels name as primary."""

    def __init__(self, place: Place) -> None:
        options: dict[str, Any] = {**parse_url(place.url), "host": None, "port": None}
        tls = options.pop("connection_class", None) is SSLConnection
        secure = {name: value for name, value in options.items() if name.startswith("ssl_")} | {"ssl": tls}
        own = _timeouts(SENTINEL_SECONDS, SENTINEL_SECONDS) | secure | place.sentinel_login
        self._sentinel = Sentinel(place.hosts, sentinel_kwargs=own)
        super().__init__(lambda **ours: _SentinelPool(place.service, self._sentinel, **options, ssl=tls, **ours))

    async def aclose(self) -> None:
        await super().aclose()
        await self._sentinel.aclose()


def servers(settings: Settings) -> Servers:
    """The set-up that the settings name."""
    from app.store.cluster import Cluster

    place = read(_url(settings))
    if place.kind == "sentinel":
        return Guarded(place)
    options = dict(parse_url(place.url))
    if place.kind == "one":
        return Node(_pool(options))

    def node(address: Address) -> Node:
        return Node(_pool({**options, "host": address[0], "port": address[1]}), retries=0)

    return Cluster(place.hosts, node)


def _pool(options: dict[str, Any]) -> Pool:
    return lambda **ours: BlockingConnectionPool(**(options | ours))


def _timeouts(seconds: float, connect: float = CONNECT_SECONDS) -> dict[str, Any]:
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": connect,
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
