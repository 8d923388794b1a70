"""supervisor, which runs the parts and restarts what dies: its configuration, and talking to it."""

import contextlib
import os
import resource
import subprocess
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from deploy.native.choose import Stack, nginx_environment
from deploy.native.places import CONFIG, DATA, LOGS, PID, PYTHON, ROOT, RUN, socket_path

OURS = "CHAT_STACK"  # in the environment of all our processes: the folder they belong to
PID_FILES = (RUN / "nginx" / "nginx.pid", RUN / "redis.pid")


def write_config(stack: Stack) -> None:
    """run/supervisord.conf.

    Ends come in the order backends, Nginx, Redis: so that replies end through Nginx.
    """
    for folder in (RUN, LOGS, DATA):
        folder.mkdir(mode=0o700, exist_ok=True)
    parts = [_supervisord()]
    if stack.redis:
        (DATA / stack.redis.folder).mkdir(mode=0o700, exist_ok=True)
        options = ["--bind", "127.0.0.1", "--port", str(stack.redis.port), "--pidfile", str(PID_FILES[1])]
        options += ["--dir", str(DATA / stack.redis.folder)]
        parts.append(
            _program("redis", [stack.redis.program, str(ROOT / "deploy" / "redis.conf"), *options], 10)
        )
    if stack.nginx:
        environment = nginx_environment(stack, RUN)
        parts.append(_program("nginx", ["/bin/sh", str(ROOT / "nginx" / "start.sh")], 20, environment))
    for number, port in enumerate(stack.backends, start=1):
        environment = {"BACKEND_ID": f"backend-{number}", "PORT": str(port), "PYTHONUNBUFFERED": "1"}
        environment["HOST"] = "127.0.0.1" if stack.nginx else "0.0.0.0"
        if stack.redis:
            environment["REDIS_URL"] = stack.redis.url
        parts.append(
            _program(f"backend-{number}", [str(PYTHON), "-m", "app"], 30, environment, stack.grace + 15)
        )
    CONFIG.write_text("\n".join(parts))


def _supervisord() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = 65536 if limit == resource.RLIM_INFINITY else min(65536, limit)
    return f"""[supervisord]
directory={_safe(ROOT)}
pidfile={_safe(PID)}
logfile={_safe(LOGS)}/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
childlogdir={_safe(LOGS)}
minfds={files}
identifier=fastapi-agent-chat

[unix_http_server]
file={_safe(socket_path())}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""


def _safe(value: object) -> str:
    return str(value).replace("%", "%%")


def _program(
    name: str, command: list[str], priority: int, environment: dict[str, str] | None = None, wait: float = 10
) -> str:
    words = " ".join('"' + word.replace('"', '\\"') + '"' for word in command)
    values = ",".join(f'{key}="{value}"' for key, value in (environment or {}).items())
    return f"""[program:{name}]
command={_safe(words)}
environment={_safe(values)}
priority={priority}
autorestart=true
startsecs=1
startretries=1000
stopwaitsecs={wait:.0f}
killasgroup=true
redirect_stderr=true
stdout_logfile={_safe(LOGS)}/{name}.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=2
"""


def launch() -> None:
    """Starts supervisord in the background."""
    command = [str(PYTHON.parent / "supervisord"), "-c", str(CONFIG)]
    subprocess.run(
        command, check=True, cwd=ROOT, env={**os.environ, OURS: str(ROOT)}, stdout=subprocess.DEVNULL
    )


def rpc() -> Any:
    """supervisord's own methods (http://supervisord.org/api.html); OSError when it does not run."""
    server = ServerProxy("http://127.0.0.1", SupervisorTransport(None, None, f"unix://{socket_path()}"))
    return server.supervisor


def running() -> bool:
    """Whether our supervisord answers."""
    try:
        return bool(rpc().getState()["statename"] == "RUNNING")
    except (OSError, Fault):  # a fault: it is shutting down
        return False


def processes() -> list[dict[str, Any]]:
    """Every part: `name`, `statename`, `pid`, `description`, `exitstatus`."""
    return list(rpc().getAllProcessInfo())


def shut_down(seconds: float) -> None:
    """Ends all parts in order, then supervisord; then what is left of ours, should supervisord have died."""
    with contextlib.suppress(OSError, Fault):  # it does not run, or is shutting down
        rpc().shutdown()
    if socket_path().exists():
        _wait_for_the_end(seconds)
    for signal in (SIGTERM, SIGKILL):
        for pid in ours():
            os.kill(pid, signal)
        _wait_for_the_end(5)
    for path in (socket_path(), PID):
        path.unlink(missing_ok=True)


def _wait_for_the_end(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while ours() and time.monotonic() < deadline:
        time.sleep(0.1)


def ours() -> list[int]:
    """Processes that were started here, known by the mark in their environment or, as Nginx and Redis write
    their titles over it, by the process groups in their pid files.
    """
    groups = {_pid_in(file) for file in PID_FILES} - {None}
    folders = [folder for folder in Path("/proc").glob("[0-9]*") if int(folder.name) != os.getpid()]
    return sorted(int(folder.name) for folder in folders if _is_ours(folder, groups))


def _is_ours(folder: Path, groups: set[int | None]) -> bool:
    try:
        if f"{OURS}={ROOT}".encode() in (folder / "environ").read_bytes().split(b"\0"):
            return True
        return os.getpgid(int(folder.name)) in groups and (folder / "cwd").resolve().is_relative_to(ROOT)
    except OSError:  # gone, or not ours to look at
        return False


def _pid_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
