"""The commands of the stack without Docker: `python -m deploy.native start`, … (COMMANDS, at the end)."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import quote

from app.settings import load
from deploy.native import checkup, guard, supervisor
from deploy.native.backup import load_snapshot, snapshot
from deploy.native.choose import redis_url
from deploy.native.health import health
from deploy.native.lifecycle import read_stack, restart, settle, start, stop
from deploy.native.parts import OURS, environment_of
from deploy.native.places import DATA, LOGS, PYTHON, ROOT, RUN
from deploy.native.say import fail, say

ALONE = ("start", "stop", "restart", "clean", "load")  # two of them in one checkout wait for each other


def status() -> None:
    """One line for each part."""
    stack = read_stack()
    ports = stack.names | {"nginx": stack.http_port} | ({"redis": stack.redis.port} if stack.redis else {})
    for process in supervisor.processes():
        name = process["name"]
        say(f"{name:<10} {process['statename']:<9} port {ports[name]:<6} {process['description']}")
    if stack.redis is None:
        say("redis      yours, from REDIS_URL or REDIS_HOST")


def show_health() -> None:
    """/health through the public port; exit code 1 when unhealthy."""
    stack = read_stack()
    hosts = environment_of("backend-1").get("ALLOWED_HOSTS", "").split(",")
    about = health(stack.http_port, hosts[0].strip(), stack.bind)
    say(json.dumps(about, indent=2) if about else "Nobody answers")
    if about.get("status") != "healthy":
        raise SystemExit(1)


def logs(which: str = "") -> NoReturn:
    """The newest lines; on a terminal it goes on until Ctrl-C."""
    files = sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / LOGS).glob("*.log") if path.name.startswith(which)
    )
    if not files:
        fail("There are no logs yet: make start")
    os.chdir(ROOT)
    os.execvp("tail", ["tail", "-n", "100", *(["-F"] if sys.stdout.isatty() else []), *files])


def redis(*command: str) -> NoReturn:
    """redis-cli on the stack's Redis."""
    url = running_redis()
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if program is None:
        fail("redis-cli is not here: sudo apt install -y redis-tools")
    os.execv(program, [program, "--no-auth-warning", "-u", url, *command])


def running_redis() -> str:
    """The URL that the backends of the running stack have."""
    stack = read_stack()
    os.environ.update(environment_of("backend-1"))
    settings = load()
    os.environ.pop(OURS, None)  # what a person does with it is no part of the stack, which a stop ends
    password = settings.redis_password.get_secret_value()
    if stack.redis:
        return redis_url(stack.redis, password)
    given = settings.redis_url.get_secret_value()
    login = f":{quote(password, safe='')}@" if password else ""
    return given or f"redis://{login}{settings.redis_host}:{settings.redis_port}/{settings.redis_db}"


def shell() -> NoReturn:
    """A shell with the project's Python first on the path and REDIS_URL set as for the backends."""
    os.chdir(ROOT)
    os.environ |= {"PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}", "REDIS_URL": running_redis()}
    program = os.environ.get("SHELL", "/bin/sh")
    os.execv(program, [program])


def doctor() -> NoReturn:
    """The checks of the app with the settings of what runs, and what only the outside can see."""
    if not supervisor.running():
        settle({})
        for finding in checkup.of_the_checkout():
            say(str(finding))
        os.execv(PYTHON, [str(PYTHON), "-m", "app", "doctor"])
    found = [*checkup.of_the_checkout(), *checkup.of_what_runs(read_stack())]
    for finding in found:
        say(str(finding))
    environment = {**environment_of("backend-1"), "URL": os.environ.get("URL", "")}
    command = [str(PYTHON), "-m", "app", "doctor", "running"]
    code = subprocess.run(command, env=environment, check=False).returncode
    raise SystemExit(code or any(finding.verdict == "FAIL" for finding in found))


def setting(name: str) -> None:
    """The value that what runs has, or what is started next will have."""
    if supervisor.running():
        say(environment_of("backend-1").get(name, ""))
        return
    _, found = settle({})
    say(found[name].value if name in found else "")


def clean() -> None:
    """Stops, and removes what was made here: chats, logs, environments."""
    stop()
    for folder in (ROOT / RUN, ROOT / DATA, ROOT / ".venv-tools", ROOT / ".venv"):
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
    "setting": setting,
    "snapshot": snapshot,
    "load": load_snapshot,
}


def main(verb: str, *words: str) -> None:
    """One command, by whom it belongs to."""
    os.chdir(ROOT)
    os.umask(0o077)
    guard.only_the_owner(verb)
    with guard.one_at_a_time() if verb in ALONE else contextlib.nullcontext():
        COMMANDS[verb](*words)


if __name__ == "__main__":
    main(*sys.argv[1:])
