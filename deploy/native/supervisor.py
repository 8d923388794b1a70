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

from deploy.native.choose import Stack
from deploy.native.parts import OURS
from deploy.native.places import CONFIG, DATA, LOGS, NGINX_PID, PID, PYTHON, ROOT, RUN, socket_path
from deploy.native.ports import claim


def write_config(stack: Stack) -> None:
    """run/supervisord.conf.

    Ends come in the order backends, Nginx, Redis: so that replies end through Nginx. Only Redis and the
    backends start by themselves: Nginx sends nobody anything before the backends are known to be ours.
    """
    for folder in (RUN, LOGS, DATA):
        (ROOT / folder).mkdir(mode=0o700, exist_ok=True)
    parts = [_supervisord()]
    parts += [_program("redis", 10, 30)] if stack.redis else []
    parts += [_program("nginx", 20, 10, by_itself=False)] if stack.nginx else []
    parts += [_program(name, 30, stack.grace + 15) for name in stack.names]
    (ROOT / CONFIG).write_text("\n".join(parts))


def _supervisord() -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = 65536 if limit == resource.RLIM_INFINITY else min(65536, limit)
    socket = socket_path()
    inside = socket.is_relative_to(ROOT)
    return f"""[supervisord]
pidfile={PID}
logfile={LOGS}/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
childlogdir={LOGS}
minfds={files}

[unix_http_server]
file={socket.relative_to(ROOT) if inside else socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""


def _program(name: str, priority: int, wait: float, by_itself: bool = True) -> str:
    return f"""[program:{name}]
command=.venv/bin/python -IS deploy/native/child.py {name}
priority={priority}
autostart={str(by_itself).lower()}
autorestart=true
startsecs=1
startretries=1000
stopwaitsecs={wait:.0f}
killasgroup=true
redirect_stderr=true
stdout_logfile={LOGS}/{name}.log
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=2
"""


def launch(stack: Stack) -> None:
    """Starts supervisord in the background, with the ports of the stack in its command line."""
    command = [str(PYTHON), "-m", "supervisor.supervisord", "-c", str(CONFIG), "-i", claim(stack.ports)]
    environment = {**os.environ, OURS: str(ROOT)}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


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


def begin(name: str) -> None:
    """Starts a part, without waiting for it."""
    rpc().startProcess(name, False)


def end(name: str) -> None:
    """Ends a part and waits for it."""
    with contextlib.suppress(Fault):  # it does not run
        rpc().stopProcess(name)


def processes() -> list[dict[str, Any]]:
    """Every part: `name`, `statename`, `pid`, `description`, `exitstatus`, `start` and `stop` (in
    seconds).
    """
    return list(rpc().getAllProcessInfo())


def process(name: str) -> dict[str, Any]:
    """One part, as in `processes`."""
    return dict(rpc().getProcessInfo(name))


def shut_down(seconds: float) -> None:
    """Ends all parts in order, then supervisord; then what is left of ours, should supervisord have died."""
    with contextlib.suppress(OSError):  # it does not run
        with contextlib.suppress(Fault):  # it is shutting down already
            rpc().shutdown()
        _wait_for_the_end(seconds)
    for signal in (SIGTERM, SIGKILL):
        for pid in ours():
            with contextlib.suppress(ProcessLookupError):  # it has just ended with another
                os.kill(pid, signal)
        _wait_for_the_end(5)
    for path in (socket_path(), ROOT / PID):
        path.unlink(missing_ok=True)


def _wait_for_the_end(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while ours() and time.monotonic() < deadline:
        time.sleep(0.1)


def ours() -> list[int]:
    """Processes that were started here, known by the mark in their environment or, as Nginx and Redis write
    their titles over it, by the process groups in their pid files.
    """
    files = [ROOT / NGINX_PID, *(ROOT / DATA).glob("*/redis.pid")]
    groups = {_pid_in(file) for file in files} - {None}
    folders = [folder for folder in Path("/proc").glob("[0-9]*") if int(folder.name) != os.getpid()]
    return sorted(int(folder.name) for folder in folders if _is_ours(folder, groups))


def _is_ours(folder: Path, groups: set[int | None]) -> bool:
    try:
        if f"{OURS}={ROOT}".encode() in (folder / "environ").read_bytes().split(b"\0"):
            return True
        if os.getpgid(int(folder.name)) not in groups:
            return False
        here = (folder / "cwd").resolve()  # a pid file may be old and its number somebody else's
        return here.is_relative_to(ROOT) or here.is_relative_to((ROOT / DATA).resolve())
    except OSError:  # gone, or not ours to look at
        return False


def _pid_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
