"""`make start` and its relatives on a machine without Docker, in a checkout of its own."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket

import httpx
import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("app", "deploy", "nginx", "static", "pyproject.toml")


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Checkout:
    """A copy of the project with the same .venv, started on a free port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
        (folder / ".venv").symlink_to(ROOT / ".venv")

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`python -m deploy.native COMMAND`, which is what make runs once the environment is there."""
        return subprocess.run(
            [str(self.folder / ".venv/bin/python"), "-m", "deploy.native", *command],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HTTP_PORT": str(self.port), "NO_APT": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )

    def text(self, path: str) -> str:
        file = self.folder / path
        return file.read_text() if file.exists() else ""

    def answer(self) -> httpx.Response | None:
        try:
            return httpx.get(f"{self.url}/health", timeout=10)
        except httpx.TransportError:
            return None

    def names(self) -> set[str]:
        answers = [self.answer() for _ in range(3)]
        return {answer.json()["backend"] for answer in answers if answer and answer.status_code == 200}

    def pids(self) -> dict[str, int]:
        lines = (line.split() for line in self.run("status").stdout.splitlines())
        return {words[0]: int(words[words.index("pid") + 1].strip(",")) for words in lines if "pid" in words}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    if shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip("nginx is not installed: sudo apt install -y nginx-light")
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    started = made.run("start")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert f"http://localhost:{made.port}" in started.stdout
        yield made
    finally:
        made.run("stop")


def test_start_returns_when_three_backends_answer(checkout: Checkout) -> None:
    assert checkout.names() == {"backend-1", "backend-2", "backend-3"}
    assert checkout.run("health").returncode == 0


def test_a_second_start_says_that_it_runs(checkout: Checkout) -> None:
    again = checkout.run("start")
    assert again.returncode == 0
    assert "runs already" in again.stdout
    assert f"http://localhost:{checkout.port}" in again.stdout


@pytest.mark.parametrize("part", ["backend-2", "redis", "nginx"])
def test_what_dies_is_started_again(checkout: Checkout, part: str) -> None:
    pid = checkout.pids()[part]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: checkout.pids().get(part, pid) != pid)
    wait_until(lambda: checkout.names() == {"backend-1", "backend-2", "backend-3"})
    if part == "nginx":  # it writes its pid once the port is its own
        wait_until(lambda: int(checkout.text("run/nginx/nginx.pid") or 0) == checkout.pids().get(part))


def test_redis_is_append_only_never_evicts_and_is_not_public(checkout: Checkout) -> None:
    asked = ("appendonly", "maxmemory-policy", "bind")
    said = checkout.run("redis", "config", "get", *asked) if shutil.which("redis-cli") else None
    if said is None:
        pytest.skip("redis-cli is not installed: sudo apt install -y redis-tools")
    values = said.stdout.split()
    assert dict(zip(values[::2], values[1::2], strict=True)) == {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }


def test_a_restart_fails_no_request(checkout: Checkout) -> None:
    before, stop, statuses = checkout.pids(), threading.Event(), []

    def ask() -> None:
        with httpx.Client(base_url=checkout.url, timeout=30) as client:
            while not stop.is_set():
                statuses.append(client.post("/api/v1/stop/nobody").status_code)
                time.sleep(0.01)  # below the rate that Nginx allows one client

    asking = threading.Thread(target=ask)
    asking.start()
    restarted = checkout.run("restart")
    stop.set()
    asking.join()
    assert restarted.returncode == 0, restarted.stderr
    assert set(statuses) == {202}
    after = checkout.pids()
    assert all(after[name] != before[name] for name in ("backend-1", "backend-2", "backend-3"))
    assert after["redis"] == before["redis"]


def test_a_wrong_setting_is_one_line_and_stops_nothing(checkout: Checkout) -> None:
    wrong = checkout.run("restart", PROVIDER="nonsense")
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
    assert "PROVIDER" in wrong.stderr
    assert checkout.names() == {"backend-1", "backend-2", "backend-3"}


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    other = Checkout(tmp_path)
    with socket() as taken:
        taken.bind(("0.0.0.0", other.port))
        taken.listen()
        refused = other.run("start")
    assert refused.returncode == 1
    assert f"Port {other.port} is taken" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "run" / "supervisord.pid").exists()


def test_stop_ends_what_start_has_started(checkout: Checkout) -> None:
    supervisor = int((checkout.folder / "run" / "supervisord.pid").read_text())
    pids = [supervisor, *checkout.pids().values()]
    ports = [checkout.port, *json.loads((checkout.folder / "run" / "stack.json").read_text())["backends"]]
    assert checkout.run("stop").returncode == 0
    assert [pid for pid in pids if alive(pid)] == []
    for port in ports:
        with socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert "Nothing runs" in checkout.run("stop").stdout


def test_stop_finds_what_a_dead_supervisor_has_left(checkout: Checkout) -> None:
    assert checkout.run("start").returncode == 0
    pids = list(checkout.pids().values())
    os.kill(int((checkout.folder / "run" / "supervisord.pid").read_text()), signal.SIGKILL)
    assert checkout.run("stop").returncode == 0
    assert [pid for pid in pids if alive(pid)] == []
