"""A checkout of its own that runs without Docker, as `make` would run it, on a free port."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.world.processes import ROOT, free_port

PARTS = ("app", "deploy", "nginx", "static", "pyproject.toml", ".env.example")
ALL = {"backend-1", "backend-2", "backend-3"}


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Checkout:
    """A copy of the project with the same .venv."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
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
