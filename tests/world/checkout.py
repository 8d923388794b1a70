"""A checkout of its own that runs without Docker, as `make` would run it, on a free port."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from socket import socket

import httpx

from tests.world.processes import ROOT

PARTS = ("app", "deploy", "nginx", "static", "pyproject.toml", "uv.lock", ".env.example", "Makefile")
ALL = {"backend-1", "backend-2", "backend-3"}


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def public_port() -> int:
    """A free port below those that the system hands out by itself: it is bound some seconds later only."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no free port")


class Checkout:
    """A copy of the project with the same .venv."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = public_port()
        self.url = f"http://127.0.0.1:{self.port}"
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
        (folder / ".venv").symlink_to(ROOT / ".venv")

    def command(self, *words: str) -> list[str]:
        """`python -m deploy.native WORDS`, which is what make runs once the environment is there."""
        return [str(self.folder / ".venv/bin/python"), "-m", "deploy.native", *words]

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HTTP_PORT": str(self.port), "NO_APT": "1", **more}

    def begin(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        environment = self.environment(**more)
        return subprocess.Popen(
            self.command(*words), cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        process = self.begin(*words, **more)
        try:
            out, err = process.communicate(timeout=110)
        finally:
            process.kill()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def make(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """`make WORDS`, without Docker."""
        command = ["make", "--no-print-directory", *words]
        environment = self.environment(MODE="native", HOME=str(self.folder), **more)
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=170,
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
