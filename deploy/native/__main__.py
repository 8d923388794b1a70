"""The commands of the stack without Docker: `python -m deploy.native start`, … (COMMANDS, at the end)."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from app.settings import load
from deploy.native import supervisor
from deploy.native.choose import RedisServer, Stack, choose, nginx_environment
from deploy.native.health import health, healthy
from deploy.native.places import DATA, LOGS, PYTHON, ROOT, RUN, STACK
from deploy.native.say import fail, say

START_SECONDS = 120  # a Raspberry Pi imports slowly, three times at once


def start() -> None:
    """Brings the stack up and returns when all answer; running already is fine."""
    settings = load()
    if supervisor.running():
        say("It runs already (make restart to load changes)")
        summary(read_stack())
        return
    supervisor.shut_down(5)  # what a supervisor that died has left behind
    stack = choose(settings)
    supervisor.write_config(stack)
    STACK.write_text(json.dumps(dataclasses.asdict(stack), indent=2))
    supervisor.launch()
    wait_for_all(stack)
    summary(stack)


def wait_for_all(stack: Stack) -> None:
    """Until each backend is healthy, also through the public port; else the reason, and all is ended."""
    deadline = time.monotonic() + START_SECONDS
    for name, port in [*zip(backend_names(stack), stack.backends, strict=True), ("nginx", stack.http_port)]:
        while not healthy(port):
            culprit = gave_up() or (name if time.monotonic() > deadline else None)
            if culprit:
                supervisor.shut_down(stack.grace + 30)
                fail(f"{culprit} does not start: {last_line(culprit)} (log: run/logs/{culprit}.log)")
            time.sleep(0.1)


def gave_up() -> str | None:
    """A process that ended by itself with an error, as for a wrong setting."""
    ended = (process for process in supervisor.processes() if process["statename"] in ("BACKOFF", "FATAL"))
    return next((process["name"] for process in ended if process["exitstatus"] > 0), None)


def last_line(name: str) -> str:
    lines = (
        (LOGS / f"{name}.log").read_text(errors="replace").split("\n")
        if (LOGS / f"{name}.log").exists()
        else []
    )
    return next((line for line in reversed(lines) if line.strip()), "it says nothing")


def backend_names(stack: Stack) -> list[str]:
    return [f"backend-{number}" for number in range(1, len(stack.backends) + 1)]


def read_stack() -> Stack:
    """What `start` has chosen."""
    if not (STACK.exists() and supervisor.running()):
        fail("Nothing runs: make start")
    values = json.loads(STACK.read_text())
    values["redis"] = RedisServer(**values["redis"]) if values["redis"] else None
    return Stack(**values)


def summary(stack: Stack) -> None:
    """The address, the provider, a line to chat and one to stop."""
    about = health(stack.backends[0])
    command = [
        "sh",
        "deploy/summary.sh",
        str(stack.http_port),
        about.get("provider", "?"),
        about.get("model") or "?",
    ]
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "KEYED": "yes" if load().keys else "no"}, check=False
    )


def stop() -> None:
    """Ends what was started here, and nothing else. Running replies may end first."""
    if not supervisor.running() and not supervisor.ours():
        say("Nothing runs")
        return
    grace = read_stack().grace if supervisor.running() else 0
    say(f"Stopping (running replies have {grace:.0f} s to end)")
    supervisor.shut_down(grace + 45)
    say("Stopped; chats stay in data/")


def restart() -> None:
    """One backend after the other: it lets its replies end while the others serve."""
    stack = read_stack()
    settings = load()  # a wrong setting is said before anything is stopped
    if "http_port" in settings.model_fields_set and settings.http_port != stack.http_port:
        say(f"The port stays {stack.http_port} until make stop start")
    if not stack.nginx:
        say("With one backend a restart is a short outage (make doctor says what to install)")
    for name, port in zip(backend_names(stack), stack.backends, strict=True):
        say(f"{name} ends its replies and starts again")
        supervisor.rpc().stopProcess(name)
        supervisor.rpc().startProcess(name)
        deadline = time.monotonic() + START_SECONDS
        while not healthy(port):
            if time.monotonic() > deadline:
                fail(
                    f"{name} does not come back: {last_line(name)} (the others go on; log: "
                    f"run/logs/{name}.log)"
                )
            time.sleep(0.1)
    reload_nginx(stack)
    summary(stack)


def reload_nginx(stack: Stack) -> None:
    """Only when its files have changed: a reload closes idle connections, on which a request may be on its
    way.
    """
    rendered = RUN / "nginx" / "nginx.conf"
    if stack.nginx and any(
        path.stat().st_mtime > rendered.stat().st_mtime for path in (ROOT / "nginx").iterdir()
    ):
        say("nginx reads its changed files")
        environment = {**os.environ, **nginx_environment(stack, RUN)}
        subprocess.run(["sh", "nginx/start.sh", "--render"], cwd=ROOT, env=environment, check=True)
        supervisor.rpc().signalProcess("nginx", "HUP")


def status() -> None:
    """One line for each part."""
    stack = read_stack()
    ports = dict(zip(backend_names(stack), stack.backends, strict=True))
    ports |= {"nginx": stack.http_port} | ({"redis": stack.redis.port} if stack.redis else {})
    for process in supervisor.processes():
        name = process["name"]
        say(f"{name:<10} {process['statename']:<9} port {ports[name]:<6} {process['description']}")
    if stack.redis is None:
        say("redis      yours, from REDIS_URL or REDIS_HOST")


def show_health() -> None:
    """/health through the public port; exit code 1 when unhealthy."""
    about = health(read_stack().http_port)
    say(json.dumps(about, indent=2) if about else "Nobody answers")
    if about.get("status") != "healthy":
        raise SystemExit(1)


def logs(which: str = "") -> NoReturn:
    """The newest lines; on a terminal it goes on until Ctrl-C."""
    files = sorted(str(path.relative_to(ROOT)) for path in LOGS.glob("*.log") if path.name.startswith(which))
    if not files:
        fail("There are no logs yet: make start")
    os.chdir(ROOT)
    os.execvp("tail", ["tail", "-n", "100", *(["-F"] if sys.stdout.isatty() else []), *files])


def redis(*command: str) -> NoReturn:
    """redis-cli on the stack's Redis."""
    url = redis_url()
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if program is None:
        fail("redis-cli is not here: sudo apt install -y redis-tools")
    os.execv(program, [program, "-u", url, *command])


def redis_url() -> str:
    stack = read_stack()
    if stack.redis:
        return stack.redis.url
    settings = load()
    password = settings.redis_password.get_secret_value()
    given = settings.redis_url.get_secret_value()
    login = f":{password}@" if password else ""
    return given or f"redis://{login}{settings.redis_host}:{settings.redis_port}/{settings.redis_db}"


def shell() -> NoReturn:
    """A shell with the project's Python first on the path and REDIS_URL set as for the backends."""
    os.chdir(ROOT)
    os.environ |= {"PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}", "REDIS_URL": redis_url()}
    program = os.environ.get("SHELL", "/bin/sh")
    os.execv(program, [program])


def doctor() -> NoReturn:
    """The checks of the app, with the stack's own Redis when it runs."""
    if supervisor.running():
        os.environ["REDIS_URL"] = redis_url()
    os.execv(PYTHON, [str(PYTHON), "-m", "app", "doctor"])


def clean() -> None:
    """Stops, and removes what was made here: chats, logs, environments."""
    stop()
    for folder in (RUN, DATA, ROOT / ".venv-tools", ROOT / ".venv"):
        shutil.rmtree(folder, ignore_errors=True)
    say("Removed run/, data/ (the chats), .venv and .venv-tools")


COMMANDS: dict[str, Callable[..., None]] = {
    "start": start,
    "stop": stop,
    "restart": restart,
    "status": status,
    "health": show_health,
    "logs": logs,
    "redis": redis,
    "redis-monitor": lambda: redis("monitor"),
    "shell": shell,
    "doctor": doctor,
    "clean": clean,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
