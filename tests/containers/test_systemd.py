"""`make service` under a real systemd, which is the first process of a container: the stack starts, comes
back after the death of its supervisor and after a boot without a network, and goes when it is told to.

The machine has neither Nginx nor Redis: both come from PyPI, once.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.containers.stack import ROOT, run, wait_until

pytestmark = pytest.mark.timeout(600)

UNIT = "fastapi-agent-chat"
CHAT = "/home/pi/chat"
MACHINE = r"""FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends systemd systemd-sysv dbus dbus-user-session \
        libpam-systemd make python3-venv procps iproute2 \
    && systemctl mask console-getty.service && useradd --create-home pi
# as `docker exec` gives them to a shell
RUN for of in system user; do mkdir -p /etc/systemd/$of.conf.d; \
    env | sed -n '/^SSL_CERT/s/.*/[Manager]\nDefaultEnvironment=&/p' >/etc/systemd/$of.conf.d/a.conf; done
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
"""
ASK = """
import sys
from urllib.request import Request, urlopen
body = sys.argv[2].encode() or None
asked = Request("http://127.0.0.1:8080" + sys.argv[1], body, {"Content-Type": "application/json"})
print(urlopen(asked, timeout=20).read().decode())
"""


@dataclass(frozen=True)
class Machine:
    """A container that has booted, with a checkout that belongs to `pi`."""

    name: str

    def do(self, *command: str, check: bool = True) -> str:
        done = run("docker", "exec", self.name, *command, check=check)
        return done.stdout + done.stderr

    def pi(self, command: str) -> str:
        """As `pi`, who is logged in."""
        shell = f"export XDG_RUNTIME_DIR=/run/user/$(id -u); cd {CHAT} && {command}"
        return self.do("runuser", "-u", "pi", "--", "sh", "-c", shell)

    def ask(self, path: str, body: str = "") -> str:
        return self.do("python3", "-c", ASK, path, body, check=False)

    def told(self, what: str) -> str:
        return self.do("systemctl", "show", "-P", what, UNIT).strip()

    def answers(self) -> bool:
        return '"healthy"' in self.ask("/health")

    def has_booted(self) -> bool:
        return self.do("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

    def boot(self) -> None:
        run("docker", "restart", "--time", "60", self.name)


@pytest.fixture(scope="module")
def machine(engine: None) -> Iterator[Machine]:
    name = f"chat-machine-{os.getpid()}"
    build = ["docker", "build", "-q", "-t", name, "-"]
    made = subprocess.run(build, input=MACHINE, text=True, check=False, capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"no image with systemd can be made here: {made.stderr.strip().splitlines()[-1]}")
    options = ("--privileged", "--cgroupns=private", "--tmpfs", "/run", "--tmpfs", "/tmp:exec")
    run("docker", "run", "--detach", "--name", name, *options, name)
    try:
        box = Machine(name)
        wait_until(box.has_booted, seconds=180)
        give_checkout(box)
        yield box
    finally:
        run("docker", "rm", "--force", "--volumes", name, check=False)
        run("docker", "image", "rm", name, check=False)


def give_checkout(box: Machine) -> None:
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout
    there = "\n".join(name for name in files.splitlines() if (ROOT / name).is_file())
    packed = subprocess.run(
        ["tar", "-c", "-T", "-"], cwd=ROOT, input=there.encode(), capture_output=True, check=True
    )
    box.do("mkdir", "-p", CHAT)
    unpack = ["docker", "exec", "-i", box.name, "tar", "-x", "-C", CHAT]
    subprocess.run(unpack, input=packed.stdout, check=True)
    box.do("sh", "-c", f"echo HTTP_PORT=8080 >{CHAT}/.env && chown -R pi:pi {CHAT}")


def words(answer: str) -> Any:
    return json.loads(answer)["messages"]


def test_a_service_of_the_machine(machine: Machine) -> None:
    assert f"Installed: /etc/systemd/system/{UNIT}.service" in machine.do("make", "-C", CHAT, "service")
    assert machine.told("ActiveState") == "active"
    running = [line for line in machine.do("ps", "-eo", "user=,args=").splitlines() if CHAT in line]
    assert running
    assert {line.split()[0] for line in running} == {"pi"}
    assert "[DONE]" in machine.ask("/api/v1/chat/kept", '{"message": "hello"}')
    kept = words(machine.ask("/api/v1/chat/kept"))
    assert len(kept) == 2

    supervisor = machine.told("MainPID")
    assert "supervisord" in machine.do("ps", "-o", "args=", "-p", supervisor)
    machine.do("kill", "-9", supervisor)
    wait_until(lambda: machine.told("ActiveState") == "active" and machine.answers(), seconds=120)
    assert machine.told("MainPID") != supervisor

    machine.do("systemctl", "reload", UNIT)
    assert machine.told("ActiveState") == "active"
    assert machine.answers()

    run("docker", "network", "disconnect", "bridge", machine.name)
    machine.boot()
    wait_until(machine.answers, seconds=120)
    assert words(machine.ask("/api/v1/chat/kept")) == kept
    run("docker", "network", "connect", "bridge", machine.name)

    assert "Removed" in machine.do("make", "-C", CHAT, "service-remove")
    assert "could not be found" in machine.do("systemctl", "status", UNIT, check=False)
    assert not machine.do("pgrep", "-u", "pi", "-a", check=False).strip()
    assert "no service of this folder" in machine.do("make", "-C", CHAT, "service-remove")


def test_a_service_of_a_person_without_root(machine: Machine) -> None:
    machine.do("loginctl", "enable-linger", "pi")
    there = ("systemctl", "is-active", "user@1000")
    wait_until(lambda: "active" in machine.do(*there, check=False).split(), seconds=120)
    said = machine.pi("make service-user")
    assert "Installed: /home/pi/.config/systemd/user/" in said
    assert "loginctl" not in said, "it starts at boot already"
    assert machine.answers()
    machine.boot()
    wait_until(machine.answers, seconds=120)
    assert "Removed" in machine.pi("make service-remove")
    wait_until(lambda: not machine.answers(), seconds=60)


def test_a_plain_user_starts_it_again_without_a_network(machine: Machine) -> None:
    assert machine.pi("make start")
    run("docker", "network", "disconnect", "bridge", machine.name)
    try:
        again = machine.pi("make stop start")
        assert "Installing" not in again
        assert machine.answers()
        assert machine.pi("make restart status")
        assert machine.answers()
    finally:
        run("docker", "network", "connect", "bridge", machine.name)
        machine.pi("make stop")
