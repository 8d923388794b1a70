"""`make start` and its relatives on a machine without Docker, in a checkout of its own."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import socket

import httpx
import pytest

from tests.world.checkout import ALL, Checkout, alive, wait_until

PASSWORD = 'p $;"\\x #y'
ODD = "a b&c|d;e\"f%g'ü$x,#\\y"  # what a folder may be called


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    if shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip("nginx is not installed: sudo apt install -y nginx-light")
    made = Checkout(tmp_path_factory.mktemp("checkout") / ODD)
    started = made.run("start", REDIS_PASSWORD=PASSWORD)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert f"http://localhost:{made.port}" in started.stdout
        yield made
    finally:
        made.run("stop")


def test_start_returns_when_three_backends_answer(checkout: Checkout) -> None:
    assert checkout.names() == ALL
    assert checkout.run("health").returncode == 0


def test_a_start_leaves_no_backend_anything_to_compile(checkout: Checkout) -> None:
    source = checkout.folder / "app" / "main.py"
    compiled = Path(importlib.util.cache_from_source(str(source)))
    assert compiled.stat().st_mtime >= source.stat().st_mtime


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
    wait_until(lambda: checkout.names() == ALL)
    if part == "nginx":  # it writes its pid once the port is its own
        wait_until(lambda: int(checkout.text("run/nginx/nginx.pid") or 0) == checkout.pids().get(part))


def test_redis_is_append_only_never_evicts_and_is_not_public(checkout: Checkout) -> None:
    asked = ("appendonly", "maxmemory-policy", "bind", "requirepass")
    said = checkout.run("redis", "config", "get", *asked) if shutil.which("redis-cli") else None
    if said is None:
        pytest.skip("redis-cli is not installed: sudo apt install -y redis-tools")
    values = said.stdout.splitlines()
    assert dict(zip(values[::2], values[1::2], strict=True)) == {
        "requirepass": PASSWORD,
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


@pytest.mark.parametrize(
    ("name", "value"),
    [("PROVIDER", "nonsense"), ("AGENTS_DIR", "/there/is/none"), ("REDIS_PASSWORD", "another")],
)
def test_a_wrong_setting_is_one_line_and_stops_nothing(checkout: Checkout, name: str, value: str) -> None:
    before = checkout.pids()
    wrong = checkout.run("restart", **{name: value})
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
    assert name in wrong.stderr
    assert checkout.pids() == before


def status(checkout: Checkout, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{checkout.url}/api/v1/chats", headers=headers, timeout=10).status_code


def test_a_restart_takes_the_shell_then_the_file_then_what_was_given_at_the_start(checkout: Checkout) -> None:
    written = checkout.folder / ".env"
    shell = checkout.run("restart", API_KEYS="alice:of-the-shell-1")
    assert "API_KEYS changes (from the shell)" in shell.stdout, shell.stderr
    assert [status(checkout, key) for key in ("of-the-shell-1", "nobody")] == [200, 401]
    written.write_text("# mine\nAPI_KEYS=alice:of$the#file-2 # hers\n")
    corrected = checkout.run("restart")
    assert "API_KEYS changes (from .env)" in corrected.stdout, corrected.stderr
    assert [status(checkout, key) for key in ("of-the-shell-1", "of$the#file-2")] == [401, 200]
    written.unlink()
    emptied = checkout.run("restart")
    assert "API_KEYS has its default again" in emptied.stdout, emptied.stderr
    assert status(checkout, "nobody") == 200
    assert "of-the-shell" not in shell.stdout + corrected.stdout + emptied.stdout


def test_a_restart_tells_nginx_what_has_changed_too(checkout: Checkout) -> None:
    written = checkout.folder / ".env"
    written.write_text("TRUSTED_PROXIES=127.0.0.1\nBASE_PATH=/below\n")
    done = checkout.run("restart")
    assert done.returncode == 0, done.stderr
    behind = {"X-Forwarded-For": "203.0.113.9"}

    def is_believed() -> bool:
        assert httpx.get(f"{checkout.url}/below/health", headers=behind).status_code == 200
        return '"client":"203.0.113.9"' in checkout.make("logs-nginx").stdout

    wait_until(is_believed)  # Nginx reads its files after the restart has told it to
    written.unlink()
    assert checkout.run("restart").returncode == 0
    wait_until(lambda: httpx.get(f"{checkout.url}/below/health").status_code == 404)


def test_a_backend_that_starts_again_has_the_settings_of_the_others(checkout: Checkout) -> None:
    (checkout.folder / ".env").write_text("API_KEYS=alice:not-in-force-yet\nwhat is this\n")
    pid = checkout.pids()["backend-2"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: checkout.pids().get("backend-2", pid) != pid)
    wait_until(lambda: checkout.names() == ALL)
    (checkout.folder / ".env").unlink()
    answers = [httpx.get(f"{checkout.url}/api/v1/chats", timeout=10) for _ in range(6)]
    assert {answer.status_code for answer in answers} == {200}


def test_doctor_asks_with_the_settings_of_what_runs_and_tells_what_a_restart_would_change(
    checkout: Checkout,
) -> None:
    (checkout.folder / ".env").write_text("OLAMA_HOST=localhost\nMAX_TOKENS=99\n")
    report = checkout.run("doctor", HTTP_PORT="", PROVIDER="ollama")
    (checkout.folder / ".env").unlink()
    assert report.returncode == 0, report.stdout + report.stderr
    assert "OLAMA_HOST in .env is no setting; did you mean OLLAMA_HOST?" in report.stdout
    assert "MAX_TOKENS changes (from .env)" in report.stdout
    assert "PROVIDER changes (from the shell)" in report.stdout
    assert "ok    model: demo" in report.stdout
    assert f"ok    nginx: listens on {checkout.port}" in report.stdout
    assert report.stdout.count("listens on") == 5
    assert "is in use" not in report.stdout
    assert "ok    redis: version" in report.stdout
    assert PASSWORD not in report.stdout


def test_doctor_names_the_line_of_env_that_cannot_be_read_while_all_runs(checkout: Checkout) -> None:
    (checkout.folder / ".env").write_text("MAX_TOKENS=99\nwhat is this\n")
    report = checkout.run("doctor")
    (checkout.folder / ".env").unlink()
    assert report.returncode == 1
    assert "FAIL  settings: .env line 2: it must look like NAME=value" in report.stdout
    assert report.stderr == ""
    assert report.stdout.count("listens on") == 5
    assert "ok    redis: version" in report.stdout


def test_two_starts_at_once_in_one_checkout_are_one(checkout: Checkout) -> None:
    both = [checkout.begin("start") for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all("runs already" in out for out, _ in said)


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
    assert "Its supervisor has died" in checkout.run("status").stderr
    assert checkout.run("stop").returncode == 0
    assert [pid for pid in pids if alive(pid)] == []
    assert "Nothing runs" in checkout.run("status").stderr


def test_what_ends_with_another_does_not_disturb_a_stop(checkout: Checkout) -> None:
    lines = [
        "import subprocess",
        "from deploy.native import supervisor",
        "gone = subprocess.Popen(['true'])",
        "gone.wait()",
        "supervisor.ours = lambda: [gone.pid]",
        "supervisor._wait_for_the_end = lambda seconds: None",
        "supervisor.shut_down(1)",
    ]
    command = [str(checkout.folder / ".venv/bin/python"), "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
