"""The real model server of `make test-model`: llama.cpp with a model of 135 million parameters, one slot.

What its slot does is read from its log: asked over HTTP it would not look whether its client is there.
"""

import os
import re
from pathlib import Path
from signal import SIGKILL
from types import TracebackType
from typing import Any, Self

import httpx

from tests.world.processes import ROOT, Program, free_port
from tests.world.waiting import eventually

PYTHON = ROOT / ".venv-model" / "bin" / "python"
WINDOW = 2048


class Toy:
    """One server, on the same port in all its lives."""

    def __init__(self, where: Path, *, batch: int = 64) -> None:
        self.port = free_port()
        script = str(ROOT / "deploy" / "tiny" / "server.py")
        options = ["--port", str(self.port), "--ctx", str(WINDOW), "--batch", str(batch), "--threads", "1"]
        self.program = Program([str(PYTHON), script, *options], where / "toy.log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        await self.program.start()
        await eventually(self._healthy, within=60, every=0.1)

    async def kill(self) -> None:
        """As if the power went."""
        self.program.signal(SIGKILL)
        await self.program.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.program.end()

    @property
    def taken(self) -> int:
        """How often the slot has been taken."""
        return self.program.output.count("| processing task")

    @property
    def is_free(self) -> bool:
        return self.program.output.count("| stop processing") == self.taken

    @property
    def read(self) -> list[int]:
        """How many tokens were read for each prompt that was read to its end: what was known is not read."""
        return [int(n) for n in re.findall(r"prompt eval time = .*? ms / +(\d+) tokens", self.program.output)]

    @property
    def cpu_seconds(self) -> float:
        """What it has worked, in seconds of a processor."""
        fields = Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def tokens(self, messages: list[dict[str, Any]]) -> int:
        """How many tokens the prompt of these messages has, as the server itself counts."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            prompt = (await client.post("/apply-template", json={"messages": messages})).json()["prompt"]
            body = {"content": prompt, "add_special": True, "parse_special": True}
            return len((await client.post("/tokenize", json=body)).json()["tokens"])

    async def _healthy(self) -> bool:
        assert self.program.running, f"the toy ended:\n{self.program.output[-3000:]}"
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.url}/health", timeout=5)).status_code == 200
        except httpx.HTTPError:
            return False
