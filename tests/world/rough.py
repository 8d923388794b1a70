"""A cluster that may be hurt: its own append-only Redis behind a fault proxy, and a fault proxy before the
model.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.world.client import Stream
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.proxy import FaultProxy
from tests.world.redis_server import PrivateRedis, command, connect

NO_LIMIT = {"maxmemory": "0", "maxmemory-policy": "noeviction"}


@dataclass
class Rough:
    """Everything that can be broken.

    `redis_link` lies between backends and Redis, `model_link` before Ollama.
    """

    cluster: Cluster
    redis: PrivateRedis
    redis_link: FaultProxy
    model_link: FaultProxy
    ollama: FakeOllama

    async def heal(self) -> None:
        """As new, whatever was done before."""
        self.redis_link.heal()
        self.model_link.heal()
        self.redis.thaw()
        if not self.redis.program.running:
            await self.redis.start()
        async with connect(self.redis.url) as client:
            for name, value in NO_LIMIT.items():
                await client.config_set(name, value)
            await command(client, "ACL", "SETUSER", "default", "reset", "on", "nopass", "~*", "&*", "+@all")
        await self.cluster.heal()


def rough_cluster(where: Path, **env: str) -> contextlib.AbstractAsyncContextManager[Rough]:
    """Start it all; `env` are settings of the backends."""
    return rough_backends(where, env)


@contextlib.asynccontextmanager
async def rough_backends(
    where: Path,
    env: Mapping[str, str],
    *,
    backends: int = 3,
    env_of: Mapping[int, Mapping[str, str]] | None = None,
) -> AsyncIterator[Rough]:
    """As `rough_cluster`, with another number of backends, and settings of single ones."""
    async with (
        PrivateRedis(where, "--appendonly", "yes", "--appendfsync", "always") as redis,
        FakeOllama() as ollama,
        FaultProxy("127.0.0.1", redis.port) as redis_link,
        FaultProxy("127.0.0.1", ollama.port) as model_link,
    ):
        settings = {
            "PROVIDER": "ollama",
            "OLLAMA_HOST": f"http://127.0.0.1:{model_link.port}",
            "REDIS_URL": f"redis://127.0.0.1:{redis_link.port}/0",
            "SHUTDOWN_GRACE_SECONDS": "3",
            # a test that makes many chats must not lose those it looks at
            "MEMORY_MAX_CONVERSATIONS": "100000",
            **env,
        }
        async with Cluster(where, redis.url, env=settings, env_of=env_of, backends=backends) as cluster:
            rough = Rough(cluster, redis, redis_link, model_link, ollama)
            try:
                yield rough
            finally:
                redis.thaw()
                redis_link.heal()


async def read_until_broken(stream: Stream) -> None:
    """Read what still comes from a backend that is being killed."""
    try:
        await stream.rest()
    except (httpx.HTTPError, AssertionError):
        return
