"""The one door to Redis: the choice of the set-up, deadlines, scripts, and its errors turned into
ours.

Every command that passes here may run twice (a reply can be lost after the command was carried
out), so everything that must not is a script guarded by the id of its run. That is why a plain
retry is enough, also after a failover.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import quote

from loguru import logger
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from app.clock import CALL_SECONDS, NEWS_SECONDS
from app.errors import RedisUnavailable
from app.settings import Settings
from app.settings.redis_url import Place, read
from app.store.wire.cluster import READS, Cluster
from app.store.wire.node import Entries, Guarded, Node, direct
from app.store.wire.script import Command, Script, Words, command

# RuntimeError: what uvloop says when a command meets a connection that is just being closed
TROUBLE = (RedisError, OSError, TimeoutError, RuntimeError)

_AWAY = "The chat memory (Redis) does not answer right now. Try again in a few seconds."
_FULL = "The chat memory (Redis) is full. Delete some chats or raise its memory limit, then try again."
_REFUSED = "The chat memory (Redis) refused this; the server's log says why."
# what a read finds where a key holds another type than it should: nothing
_NOTHING: dict[str, list[bytes] | int | None] = {
    **{name: [] for name in ("HGETALL", "HKEYS", "LRANGE", "XRANGE", "XREVRANGE")},
    **{name: [] for name in ("ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE")},
    **dict.fromkeys(("LLEN", "HLEN", "ZCARD", "ZCOUNT"), 0),
    "HGET": None,
}
_KEYLESS = {"PING", "INFO", "TIME", "PUBLISH"}  # a channel's name is made whole by `channel`


class StorageFull(RedisUnavailable):
    """Redis refused a write because its memory is used up (`noeviction`)."""


# one Redis, or many; `spread` when one command cannot take keys of two chats
Servers = Node | Cluster


class Connection:
    """Opened once per process by `async with`; safe for any number of tasks.

    Keys are written without `REDIS_PREFIX`; it is added here.
    """

    def __init__(self, settings: Settings, scripts: Sequence[Script]) -> None:
        place = _configured(settings)
        self._scripts = scripts
        self._servers = _servers(place)
        self._prefix = settings.redis_prefix
        self.on_call: Callable[[float, bool], None] = lambda *_: None  # told its seconds, and if it failed
        self._channels = f"{self._prefix}{place.database}:"

    @property
    def bells(self) -> Redis:
        """The client that listens to the bells; asked anew for each link."""
        return self._servers.bells

    @property
    def spread(self) -> bool:
        """Whether one command cannot take the keys of two chats."""
        return self._servers.spread

    def channel(self, name: str) -> str:
        """The channel of this name: pub/sub knows no databases, so it carries ours, and the prefix."""
        return self._channels + name

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._servers.aclose()

    async def do(self, one: Command) -> Any:
        """Carries out one command. Raises `RedisUnavailable`."""
        return (await self.do_all([one]))[0]

    async def do_all(self, commands: Sequence[Command], *, check: bool = True) -> list[Any]:
        """Carries out commands in one round trip, in order; without `check` errors are left in the
        list.

        On a cluster the order holds for the first command against all others, and with `check`
        only.
        """
        if not commands:
            return []
        words = [self._prefixed(one) for one in commands] if self._prefix else commands
        began, failed = time.monotonic(), True
        try:
            async with asyncio.timeout(CALL_SECONDS):
                results = await self._servers.execute(words, each_alone=not check)
                if any(isinstance(result, NoScriptError) for result in results):
                    await self._servers.everywhere([("SCRIPT", "LOAD", one.text) for one in self._scripts])
                    results = await self._servers.execute(words, each_alone=not check)
                if any(_odd(result) for result in results):
                    results = await self._heal(words, results)
            failed = False
        except TROUBLE as error:
            raise RedisUnavailable(_AWAY) from error
        finally:
            self.on_call(time.monotonic() - began, failed)
        if check:
            for result in results:
                if isinstance(result, RedisError):
                    raise translated(result) from result
        return results

    async def _heal(self, words: Sequence[Words], results: list[Any]) -> list[Any]:
        """Answers for commands whose keys hold another type: reads find nothing, writes make them
        anew.

        Scripts look after their keys themselves.
        """
        healed = list(results)
        for n, (one, result) in enumerate(zip(words, results, strict=True)):
            if not _odd(result) or one[0] == "EVALSHA":
                continue
            logger.warning("command=<{}> | a key holds another type than it should", one[0])
            if one[0] in _NOTHING:
                healed[n] = _NOTHING[one[0]]
            else:
                healed[n] = (await self._servers.execute([("UNLINK", one[1]), one]))[1]
        return healed

    async def values(self, keys: Sequence[str]) -> list[bytes | None]:
        """The strings under these keys, in one round trip; None where there is none or no string."""
        if self.spread:
            found = await self.do_all([command("GET", key) for key in keys], check=False)
            return [None if isinstance(value, RedisError) else value for value in found]
        values: list[bytes | None] = await self.do(command("MGET", *keys))
        return values

    async def info(self) -> dict[str, str]:
        """What Redis says about itself; one node's words on a cluster."""
        lines = (await self.do(command("INFO", "everything"))).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    async def keys_like(self, pattern: str) -> AsyncIterator[list[str]]:
        """The names of all hashes of this pattern, in parts, one maybe twice; none where Redis does not
        let us look.
        """
        began = len(self._prefix)
        try:
            async for names in self._servers.scan(self._prefix + pattern):
                yield [name.decode("utf-8", "replace")[began:] for name in names]
        except ResponseError as error:
            _log_refused(error)
        except TROUBLE as error:
            raise RedisUnavailable(_AWAY) from error

    async def read_streams(self, wanted: Sequence[tuple[str, int]]) -> list[Entries]:
        """New entries of each of these streams behind a number, waiting a moment for them."""
        prefixed = [(self._prefix + key, after) for key, after in wanted]
        try:
            async with asyncio.timeout(NEWS_SECONDS * (1 + len(wanted) / READS) + CALL_SECONDS):
                return await self._servers.read_streams(prefixed)
        except ResponseError as error:  # one of them is no stream: each for itself
            if not _odd(error):
                raise translated(error) from error
            await asyncio.sleep(NEWS_SECONDS)
            reads = [command("XRANGE", key, f"({after}", "+", "COUNT", 20) for key, after in wanted]
            return [row if isinstance(row, list) else [] for row in await self.do_all(reads, check=False)]
        except TROUBLE as error:
            raise RedisUnavailable(_AWAY) from error

    def _prefixed(self, words: Words) -> Words:
        if words[0] in _KEYLESS:
            return words
        first, last = (
            (3, 3 + words[2]) if words[0] == "EVALSHA" else (1, len(words) if words[0] == "MGET" else 2)
        )
        keys = (self._prefix + key for key in words[first:last])
        return type(words)((*words[:first], *keys, *words[last:]))


def _odd(result: object) -> bool:
    return isinstance(result, ResponseError) and str(result).startswith("WRONGTYPE")


def translated(error: RedisError) -> RedisUnavailable:
    """Our error for one that Redis answered with, which is logged by its first word."""
    if isinstance(error, OutOfMemoryError):
        return StorageFull(_FULL)
    _log_refused(error)
    return RedisUnavailable(_REFUSED)


def _log_refused(error: RedisError) -> None:
    logger.warning("error=<{}> | Redis refused a command", (str(error).split() or ["?"])[0][:40])


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


def _configured(settings: Settings) -> Place:
    if url := settings.redis_url.get_secret_value():
        return read(url)
    password = settings.redis_password.get_secret_value()
    login = f":{quote(password, safe='')}@" if password else ""
    where = f"{settings.redis_host}:{settings.redis_port}/{settings.redis_db}"
    return Place("one", f"redis://{login}{where}", database=settings.redis_db)
