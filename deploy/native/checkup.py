"""What `doctor` finds from outside the app: the checkout, and whether what runs is what is set now."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from app import envfile
from app.doctor.machine import Finding
from deploy import given
from deploy.native import ports, supervisor
from deploy.native.choose import Stack
from deploy.native.places import DATA, GIVEN, ROOT

UNITS = (Path("/etc/systemd/system"), Path.home() / ".config/systemd/user")


def of_the_checkout() -> Iterator[Finding]:
    """Whether the stack runs or not."""
    try:
        for line in given.misspelt(envfile.read(".env")):
            yield Finding("warn", "settings", line, "correct the name, or take the line away")
    except ValueError as error:
        yield Finding("FAIL", "settings", str(error), "correct that line: nothing starts again before")
    aside = sorted(path.name for path in (ROOT / DATA).glob("*/damaged-*"))
    if aside:
        repair = "look whether a chat is missing; if not, remove it"
        yield Finding("warn", "data", f"a copy of what a repair found damaged: data/…/{aside[-1]}", repair)
    yield _at_boot()


def _at_boot() -> Finding:
    line = f"WorkingDirectory={str(ROOT).replace('%', '%%')}"
    for unit in (unit for folder in UNITS for unit in folder.glob("fastapi-agent-chat*.service")):
        if line in unit.read_text().splitlines():
            return Finding("ok", "boot", f"{unit.name} starts it")
    if Path("/run/systemd/system").exists():
        return Finding("warn", "boot", "nothing starts it after a power cut", "sudo make service")
    return Finding("ok", "boot", "no systemd here")


def of_what_runs(stack: Stack) -> Iterator[Finding]:
    """The parts, their ports, and settings that a restart would change."""
    expected = stack.names | {stack.public: stack.http_port}
    expected |= {"redis": stack.redis.port} if stack.redis else {}
    for part in supervisor.processes():
        yield _part(part["name"], part["statename"], part["pid"], expected[part["name"]])
    before = given.load(ROOT / GIVEN)
    with contextlib.suppress(ValueError):  # told by `of_the_checkout`
        now = given.gather(os.environ, envfile.read(".env"), given.remembered(before))
        for line in given.changes(before, now, tell_kept=False):
            yield Finding("warn", "settings", f"what runs has another one: {line}", "make restart")


def _part(name: str, state: str, pid: int, port: int) -> Finding:
    if state == "RUNNING" and ports.owns(pid, port):
        return Finding("ok", name, f"listens on {port}")
    repair = f"tail run/logs/{name}.log; then make stop start"
    if state == "RUNNING":
        return Finding("FAIL", name, f"runs, but port {port} is not its own", repair)
    return Finding("FAIL", name, state.lower(), repair)
