"""The product as it runs: real backends behind the real Nginx configuration.

Knows how to start and hurt them.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM, Signals
from types import TracebackType
from typing import Any, Self

import httpx

from tests.world.client import Client
from tests.world.processes import ROOT, Program, free_port
from tests.world.waiting import eventually

NGINX_FOLDERS = "/usr/sbin:/usr/local/sbin:/sbin"  # not on every user's path
START_SECONDS = 300  # imports take seconds each, and many at once on a busy small machine


class Cluster:
    """Backends `backend-1` … on free ports, and Nginx before them.

    `env` is for all backends, `env_of` for single ones (1, 2 …). Logs lie in `where`. Backends count from 1.
    `module` is what `python -m` runs.
    """

    def __init__(
        self,
        where: Path,
        redis_url: str,
        *,
        env: Mapping[str, str] | None = None,
        env_of: Mapping[int, Mapping[str, str]] | None = None,
        backends: int = 3,
        module: str = "app",
    ) -> None:
        self.where = where
        self.module = module
        self.redis_url = redis_url
        self.numbers = range(1, backends + 1)
        self.ports = {n: free_port() for n in self.numbers}
        self.port = free_port()
        self.backends = {
            n: self._backend(n, {"REDIS_URL": redis_url, **(env or {}), **(env_of or {}).get(n, {})})
            for n in self.numbers
        }
        self.nginx = self._nginx({name: (env or {}).get(name, "") for name in ("CORS_ORIGINS", "BASE_PATH")})

    def _backend(self, n: int, env: Mapping[str, str]) -> Program:
        own = {
            "BACKEND_ID": f"backend-{n}",
            "HOST": "127.0.0.1",
            "PORT": str(self.ports[n]),
            "LOG_LEVEL": "INFO",
        }
        return Program(
            [sys.executable, "-m", self.module], self.where / f"backend-{n}.log", env={**own, **env}
        )

    def _nginx(self, told: Mapping[str, str]) -> Program:
        env = {
            **told,
            "LISTEN": f"127.0.0.1:{self.port}",
            "BACKENDS": " ".join(f"127.0.0.1:{port}" for port in self.ports.values()),
            "RUN_DIR": str(self.where / "nginx"),
            "PATH": f"{os.environ['PATH']}:{NGINX_FOLDERS}",
            "WORKERS": "1",
        }
        return Program(["/bin/sh", str(ROOT / "nginx" / "start.sh")], self.where / "nginx.log", env=env)

    # addresses

    @property
    def url(self) -> str:
        """Nginx."""
        return f"http://127.0.0.1:{self.port}"

    def url_of(self, n: int) -> str:
        return f"http://127.0.0.1:{self.ports[n]}"

    def client(self, n: int | None = None, **more: Any) -> Client:
        """A new person, through Nginx or straight to backend `n`."""
        return Client(self.url if n is None else self.url_of(n), **more)

    def number(self, backend_id: str) -> int:
        """2 for `backend-2`."""
        return int(backend_id.removeprefix("backend-"))

    def other(self, backend_id: str) -> int:
        """Some backend that is not the one named."""
        return self.number(backend_id) % len(self.numbers) + 1

    # life

    async def start(self) -> None:
        assert shutil.which("nginx", path=self.nginx.env["PATH"]), (
            "the tests need: sudo apt install -y nginx-light"
        )
        await asyncio.gather(*(program.start() for program in (*self.backends.values(), self.nginx)))
        await self.ready()

    async def ready(self) -> None:
        """Wait until every backend and Nginx say that all is well."""
        for n in self.numbers:
            await self.ready_of(n)
        await eventually(lambda: health(self.url), within=START_SECONDS)

    async def ready_of(self, n: int) -> None:
        def check() -> Any:
            assert self.backends[n].running, f"backend-{n} ended:\n{self.backends[n].output[-3000:]}"
            return health(self.url_of(n))

        await eventually(check, within=START_SECONDS, every=0.05)

    async def stop(self) -> None:
        for program in self.backends.values():
            program.signal(SIGCONT)
            program.signal(SIGTERM)
            program.signal(SIGTERM)  # the second one means: now
        await asyncio.gather(*(program.end(within=5) for program in (*self.backends.values(), self.nginx)))

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # harm

    def signal(self, n: int, number: Signals) -> None:
        self.backends[n].signal(number)

    async def kill(self, n: int) -> None:
        """As if the power went: no goodbye."""
        self.signal(n, SIGKILL)
        await self.backends[n].wait()

    async def start_again(self, n: int) -> None:
        await self.backends[n].start()
        await self.ready_of(n)

    async def heal(self) -> None:
        """Everything runs again, whatever was done to it."""
        for n in self.numbers:
            self.signal(n, SIGCONT)
            if not self.backends[n].running:
                await self.backends[n].start()
        if not self.nginx.running:
            await self.nginx.start()
        await self.ready()

    def freeze(self, n: int) -> None:
        self.signal(n, SIGSTOP)

    def thaw(self, n: int) -> None:
        self.signal(n, SIGCONT)

    def reload_nginx(self) -> None:
        self.nginx.signal(SIGHUP)


async def health(url: str) -> bool:
    """Whether `GET /health` there is 200."""
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{url}/health", timeout=5)).status_code == 200
    except httpx.HTTPError:
        return False
