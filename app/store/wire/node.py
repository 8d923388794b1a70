"""One Redis as a set of redis-py clients, reached directly or through Sentinels. Knows no key and
no error of ours.

The deadlines are set here and win over the URL.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.utils import HIREDIS_AVAILABLE

from app.clock import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    EXCHANGE_PAUSE_SECONDS,
    EXCHANGE_SECONDS,
    NEWS_SECONDS,
    REPLICA_SECONDS,
    SENTINEL_SECONDS,
)
from app.settings.redis_url import Address, Place
from app.store.wire.script import Lasting, Words

if HIREDIS_AVAILABLE:
    import hiredis

Entries = list[tuple[bytes, list[bytes]]]
Pool = Callable[..., BlockingConnectionPool]
SCANNED = 1000  # keys looked at in one go: some tenths of a millisecond


class Node:
    """One Redis: connections for commands, for reads that block, and for pub/sub."""

    spread = False

    def __init__(self, pool: Pool, *, retries: int = 1, replicated: bool = False) -> None:
        self._replicated = replicated
        self._retry = Retry(ConstantBackoff(EXCHANGE_PAUSE_SECONDS), retries)
        self._quick = _Lines(pool, 64)
        self._blocking = _Lines(pool, 512)
        self.bells = Redis(connection_pool=pool(max_connections=2, **_patience(ANSWER_SECONDS)))

    async def execute(self, commands: Sequence[Words], *, each_alone: bool = False) -> list[Any]:  # noqa: ARG002
        """Runs commands in order in one round trip; the answers as Redis sends them (RESP2), errors
        among them.
        """
        wait = self._replicated and any(isinstance(command, Lasting) for command in commands)
        sent = [*commands, ("WAIT", 1, int(REPLICA_SECONDS * 1000))] if wait else commands
        answers = await self._retry.call_with_retry(
            lambda: self._quick.exchange(sent, EXCHANGE_SECONDS), _reconnects
        )
        return answers[: len(commands)]

    async def everywhere(self, commands: Sequence[Words]) -> None:
        """Runs commands on every server that takes writes: this one."""
        await self.execute(commands)

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """The names of all hashes of this pattern, in parts; one may come twice."""
        cursor = b"0"
        while True:
            look = ("SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED, "TYPE", "hash")
            (answer,) = await self.execute([look])
            if isinstance(answer, RedisError):
                raise answer
            cursor, names = answer
            yield names
            if cursor == b"0":
                return

    async def read_streams(self, wanted: Sequence[tuple[str, int]]) -> list[Entries]:
        """New entries of each of these streams behind a number, waiting for them up to `NEWS_SECONDS`."""
        keys, places = [key for key, _ in wanted], [f"{after}-0" for _, after in wanted]
        read = ("XREAD", "COUNT", 20, "BLOCK", int(NEWS_SECONDS * 1000), "STREAMS", *keys, *places)
        (found,) = await self._blocking.exchange([read], NEWS_SECONDS + EXCHANGE_SECONDS)
        if isinstance(found, ResponseError):
            raise found
        news: dict[bytes, Entries] = dict(found or [])
        return [news.get(key.encode(), []) for key in keys]

    async def aclose(self) -> None:
        """Closes every connection."""
        for pool in (self._quick.pool, self._blocking.pool, self.bells.connection_pool):
            await pool.disconnect()


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
    """Makes pools of connections to the place, or to another address with the same login."""
    options: dict[str, Any] = dict(parse_url(place.url))
    if address:
        options["host"], options["port"] = address
    return lambda **ours: BlockingConnectionPool(**(options | ours))


class _Lines:
    """Connections, so many at most; who finds none free waits."""

    def __init__(self, pool: Pool, most: int) -> None:
        self.pool = pool(max_connections=most, **_patience(None))
        self._free = asyncio.Semaphore(most)

    async def exchange(self, commands: Sequence[Words], seconds: float) -> list[Any]:
        """One round trip. redis-py's pipeline does the same with a timer for every answer, and its pool
        with measurements around every connection, at up to three times the price.
        """
        async with asyncio.timeout(seconds), self._free:
            connection: AbstractConnection = self.pool.get_available_connection()  # type: ignore[no-untyped-call]
            try:
                await self.pool.ensure_connection(connection)
                await connection.send_packed_command(_packed(connection, commands))
                return [await _read_answer(connection) for _ in commands]
            finally:
                await self.pool.release(connection)


def _packed(connection: AbstractConnection, commands: Sequence[Words]) -> list[bytes]:
    """As Redis reads them; redis-py packs in Python, at eight times the price."""
    if HIREDIS_AVAILABLE:
        return [hiredis.pack_command(command) for command in commands]
    return connection.pack_commands(commands)


async def _read_answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def _reconnects(_: Exception) -> None:
    """Before the next try: a connection that failed has been closed already and opens by itself."""


def pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Fields and values of a hash or a stream entry, which RESP2 sends in one list."""
    return zip(flat[::2], flat[1::2], strict=True)


def _patience(seconds: float | None) -> dict[str, Any]:
    return {"timeout": None, **_timeouts(seconds, CONNECT_SECONDS)}


def _timeouts(seconds: float | None, connect: float) -> dict[str, Any]:
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": connect,
        "socket_keepalive": True,
        "protocol": 2,
        "health_check_interval": 0,
        "retry": Retry(NoBackoff(), 0),
    }
