"""`make service`: the unit is one that systemd takes, and its commands start, reload and end the stack."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.world.checkout import Checkout, alive
from tests.world.processes import ROOT

ANALYZE = shutil.which("systemd-analyze")


def unit(checkout: Checkout, mode: str, scope: str) -> str:
    command = ["sh", "deploy/service.sh", "print", scope]
    environment = {**checkout.environment(), "MODE": mode, "HOME": str(checkout.folder)}
    return subprocess.run(
        command, cwd=checkout.folder, env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")
@pytest.mark.parametrize("scope", ["system", "user"])
@pytest.mark.parametrize("mode", ["native", "docker"])
def test_systemd_takes_the_unit(tmp_path: Path, mode: str, scope: str) -> None:
    checkout = Checkout(tmp_path / "my 100% chat")
    file = tmp_path / "chat.service"
    file.write_text(unit(checkout, mode, scope))
    command = [str(ANALYZE), "verify", "--man=no", *(["--user"] if scope == "user" else []), str(file)]
    (tmp_path / "runtime").mkdir()
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "chat.service" not in done.stderr
    assert "network-online" not in file.read_text(), "it boots without a network"


def test_the_commands_of_the_unit_operate_the_stack(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "my 100% chat")
    values = dict(re.findall(r"^(\w+)=(.*)$", unit(checkout, "native", "system"), re.M))
    name, _, value = values["Environment"].partition("=")
    folder = values["WorkingDirectory"].replace("%%", "%")
    environment = {"PATH": "/usr/bin:/bin", "HTTP_PORT": str(checkout.port), "NO_APT": "1", name: value}

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command.split(),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )

    try:
        started = run(values["ExecStart"])
        assert started.returncode == 0, started.stdout + started.stderr
        pid = int(Path(values["PIDFile"].replace("%%", "%")).read_text())
        assert b"supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes()
        before = checkout.pids()
        reloaded = run(values["ExecReload"])
        assert reloaded.returncode == 0, reloaded.stdout + reloaded.stderr
        after = checkout.pids()
        assert all(before[name] != after[name] for name in ("backend-1", "backend-2", "backend-3"))
    finally:
        stopped = run(values["ExecStop"])
    assert stopped.returncode == 0
    assert not alive(pid)


@pytest.mark.skipif(not (ROOT / ".venv/.made").exists(), reason="make check makes the environment")
def test_a_start_asks_nobody_once_the_environment_is_made(tmp_path: Path) -> None:
    """As cron and systemd start it: uv is on no path, home is empty, and there is no network yet."""
    checkout = Checkout(tmp_path / "chat")
    dead = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:1")
    environment = {**dead, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NO_APT": "1"}
    done = subprocess.run(
        ["sh", "deploy/native/setup.sh", "run"],
        cwd=checkout.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (checkout.folder / ".venv-tools").exists()


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd runs here")
def test_without_systemd_it_says_so_and_stops_nothing(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    for verb in ("service", "service-user"):
        refused = checkout.make(verb)
        assert refused.returncode != 0
        assert refused.stderr.startswith("systemd does not run here")
    assert "no service of this folder" in checkout.make("service-remove").stdout
