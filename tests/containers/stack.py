"""A checkout that runs with Docker Compose, and talking to it.

Knows make, docker and HTTP, not the app's inside.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
BACKENDS = ("backend1", "backend2", "backend3")


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*command: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400, **more)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


@dataclass(frozen=True)
class Started:
    """A reply that is being made. `answer` is open; `text` was read until now."""

    run_id: str
    chat_id: str
    backend: str
    answer: httpx.Response
    lines: Any


class Stack:
    """What git knows of this project, copied, so that nothing else of the folder takes part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.project = f"chat-test-{os.getpid()}"
        self.url = f"http://127.0.0.1:{self.port}"
        files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.split()
        for name in files:
            source, target = ROOT / name, folder / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
        self.environment = {
            **os.environ,
            "MODE": "docker",
            "HTTP_PORT": str(self.port),
            "COMPOSE_PROJECT_NAME": self.project,
            "VERSION": "test",
        }
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def make(self, *words: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **more}
        return run("make", "--no-print-directory", *words, check=check, cwd=self.folder, env=environment)

    def compose(self, *words: str, check: bool = True) -> str:
        command = ("docker", "compose", "--ansi", "never", *words)
        return run(*command, check=check, cwd=self.folder, env=self.environment).stdout

    def start(self) -> str:
        return self.make("start").stdout

    def container(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def inspect(self, service: str) -> Any:
        return json.loads(run("docker", "inspect", self.container(service)).stdout)[0]

    def inside(self, service: str, *command: str, check: bool = True) -> str:
        return run("docker", "exec", self.container(service), *command, check=check).stdout

    def names(self, requests: int = 40) -> set[str]:
        """Backends that answer, seen from outside."""
        return {self.client.get("/health/live").headers["X-Backend"] for _ in range(requests)}

    def chat(self, chat_id: str, message: str = "Tell me a very long story") -> Started:
        """A reply of which some text has come."""
        request = self.client.build_request("POST", f"/api/v1/chat/{chat_id}", json={"message": message})
        answer = self.client.send(request, stream=True)
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        next(line for line in lines if line.startswith("data:"))
        return Started(answer.headers["X-Run-Id"], chat_id, answer.headers["X-Backend"], answer, lines)
