"""Waiting until a part is ready: our own process must answer; what cannot become ready is told at once."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.settings import Settings
from deploy.native import ports, supervisor
from deploy.native.choose import Stack
from deploy.native.health import health, redis_says
from deploy.native.places import LOGS, ROOT

START_SECONDS = 300  # a Raspberry Pi imports slowly, three times at once
REDIS_SECONDS = 5  # a Redis elsewhere may come up at the same time as we do
_TELLING = re.compile(r"Wrong setting|Errno|ERROR|CRITICAL|FATAL|\[emerg\]|Error|Bad file|Can't|Could not|# ")


@dataclass(frozen=True)
class Trouble:
    """A part that does not become ready, and why, in one line."""

    part: str
    why: str

    def __str__(self) -> str:
        shown = f" (log: {LOGS}/{self.part}.log)" if (ROOT / LOGS / f"{self.part}.log").exists() else ""
        return f"{self.part} does not start: {self.why}{shown}"


class Waiting:
    """One start or restart: knows which parts had ended before it."""

    def __init__(self, stack: Stack, settings: Settings) -> None:
        self._stack = stack
        self._settings = settings
        self._host = settings.hosts[0] if settings.hosts else ""
        self._ended = {part["name"]: part["stop"] for part in supervisor.processes()}
        self._deadline = time.monotonic() + START_SECONDS

    def forget(self, name: str) -> None:
        """The part was stopped on purpose."""
        self._ended[name] = supervisor.process(name)["stop"]

    def redis(self) -> Trouble | None:
        """Until our own Redis has read its file."""
        if self._stack.redis is None:
            return None
        port, password = self._stack.redis.port, self._settings.redis_password.get_secret_value()
        for _ in self._tries("redis"):
            if self._is_ours("redis", port) and redis_says(port, password, "PING") == "+PONG":
                return None
        return self._trouble("redis")

    def backend(self, name: str) -> Trouble | None:
        """Until it is healthy; a Redis elsewhere that does not answer is named as such."""
        without = None
        for _ in self._tries(name):
            port = self._stack.names[name]
            about = health(port, self._host) if self._is_ours(name, port) else {}
            if about.get("status") == "healthy":
                return None
            if about.get("redis") == "disconnected":
                without = without or time.monotonic()
                if time.monotonic() - without > REDIS_SECONDS:
                    return Trouble(
                        "redis", f"it does not answer {name}, see REDIS_URL or REDIS_HOST; make doctor"
                    )
        return self._trouble(name)

    def public(self) -> Trouble | None:
        """Until the stack answers where people ask."""
        name, port = self._stack.public, self._stack.http_port
        for _ in self._tries(name):
            about = health(port, self._host, self._stack.bind) if self._is_ours(name, port) else {}
            if about.get("status") == "healthy":
                return None
        return self._trouble(name)

    def _tries(self, name: str) -> Iterator[None]:
        """Again and again until it has ended by itself, or nobody waits any longer."""
        while time.monotonic() < self._deadline:
            yield
            if self._has_ended(supervisor.process(name)):
                return
            time.sleep(0.1)

    def _has_ended(self, part: dict[str, Any]) -> bool:
        return part["stop"] != self._ended[part["name"]] or part["statename"] in (
            "BACKOFF",
            "FATAL",
            "EXITED",
        )

    def _is_ours(self, name: str, port: int) -> bool:
        pid = supervisor.process(name)["pid"]
        return bool(pid) and ports.owns(pid, port)

    def _trouble(self, name: str) -> Trouble:
        return Trouble(name, last_words(name))


def last_words(name: str) -> str:
    """The newest line of its log that tells why it ended, else the newest."""
    try:
        text = (ROOT / LOGS / f"{name}.log").read_text(errors="replace")
    except OSError:
        return "it says nothing"
    lines = [line.strip() for line in text.splitlines()[-40:] if line.strip()]
    telling = [line for line in lines if _TELLING.search(line) and "exit status" not in line]
    return (telling or lines or ["it says nothing"])[-1][:300]
