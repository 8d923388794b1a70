"""Every block of the README and of docs/ is run by a test, or stands here with the reason why not."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from app.agents.catalog import Catalog
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT
from tests.world.pictures import png
from tests.world.processes import ROOT, Program, clean_environment

OTHERS = {  # whole files whose blocks another test takes from them
    "docs/clients.md": "tests/test_clients_docs.py",
    "docs/tools.md": "tests/test_tools_docs.py",
}
BY_OTHERS = {  # what a block begins with, and the test that does the same
    "docker swarm init": "tests/containers/test_swarm.py",
    "make backup": "tests/test_ops_move.py",
    "chat.example {": "tests/test_ops_front.py",
    "home.example {": "tests/test_ops_front.py",
    "server {": "tests/test_ops_front.py",
    "http:": "tests/test_ops_front.py",
    "user chat on >secret": "tests/test_redis_beyond.py",
    "make start\nmake status": "tests/test_ops_native.py",
    "sudo make service": "tests/test_ops_service.py",
    "event: tool": "tests/test_approval.py",
    '{"tool_use_id"': "tests/test_approval.py",
}
NOT_RUN = {  # what a block begins with, and why
    "flowchart LR": "a picture",
    "sequenceDiagram": "a picture",
    "main.js ": "a list of files",
    "make start\nmake test": "these tests are what it starts",
    "make check\nmake test": "these tests are what it starts",
    "make screenshots": "takes minutes and changes files of the project",
    "make bench": "takes twenty minutes on a quiet machine",
    "python -m bench": "takes minutes on a quiet machine",
    "sudo apt install": "changes the machine",
    "curl -fsSL https://ollama.com": "installs Ollama from the internet",
    "kubectl create secret": "needs a cluster; the manifests are checked by make check-kubernetes",
}
PLACE = "http://localhost"


class Block(NamedTuple):
    """One block; `file` from the root of the project."""

    file: str
    kind: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.file}: {self.text.splitlines()[0][:50]}"


def blocks() -> Iterator[Block]:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "bench" / "README.md"]:
        for kind, text in re.findall(r"^ *```([^\n]*)\n(.*?)^ *```$", path.read_text(), re.M | re.S):
            yield Block(str(path.relative_to(ROOT)), kind, re.sub(r"^  (?=\S)", "", text, flags=re.M))


def begins(block: Block, listed: dict[str, str]) -> str | None:
    return next((start for start in listed if block.text.startswith(start)), None)


REST = [one for one in blocks() if one.file not in OTHERS and not begins(one, BY_OTHERS | NOT_RUN)]
OF_KIND = {kind: [one for one in REST if one.kind == kind] for kind in ("sh", "python", "js", "toml")}
SETTINGS = [one for one in OF_KIND["sh"] if "printf" in one.text]
COMMANDS = [one for one in OF_KIND["sh"] if "printf" not in one.text]


def test_no_block_is_of_a_kind_that_nobody_runs() -> None:
    assert [one.name for one in REST if one.kind not in OF_KIND] == []
    for test in {*OTHERS.values(), *BY_OTHERS.values()}:
        assert (ROOT / test).exists(), test


def test_no_excuse_is_older_than_its_block() -> None:
    known = list(blocks())
    for start in BY_OTHERS | NOT_RUN:
        assert any(one.text.startswith(start) for one in known), f"no block begins with {start}"
    for file in OTHERS:
        assert any(one.file == file for one in known), file


@pytest.mark.parametrize("block", OF_KIND["toml"], ids=lambda one: one.name)
def test_an_agent_file_is_one(block: Block, tmp_path: Path) -> None:
    (tmp_path / "shown.toml").write_text(block.text)
    shown = Catalog(str(tmp_path)).get("shown")
    assert shown.prompt in block.text


@pytest.mark.parametrize("block", SETTINGS, ids=lambda one: one.name)
async def test_what_goes_into_the_settings_can_be_set(block: Block, tmp_path: Path) -> None:
    lines = [line for line in block.text.splitlines() if line.startswith("printf")]
    await run(["sh", "-euc", "\n".join(lines)], tmp_path)
    assert (tmp_path / ".env").stat().st_size
    await run([sys.executable, "-m", "app", "check"], tmp_path)


@pytest.mark.parametrize("block", COMMANDS, ids=lambda one: one.name)
async def test_a_command_does_what_is_said(
    block: Block, cluster: Cluster, tmp_path: Path, redis_url: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD if "stop" in block.text.lower() else ollama.default
    async with cluster.client() as client:
        if "stop" in block.text.lower():
            async with client.chat("my-chat", "hold") as stream:
                await stream.until_text(HELD_TEXT)
                await run(["sh", "-euc", here(block.text, cluster, redis_url)], tmp_path)
                assert (await stream.rest()).outcome == "stopped"
            return
        await told_before(client, block)
        (tmp_path / "door.png").write_bytes(png(4, 4))
        said = await run(["sh", "-euc", here(block.text, cluster, redis_url)], tmp_path)
    assert any(word in said for word in ("data: [DONE]", '"outcome":"done"', '"file_id"'))


async def told_before(client: Client, block: Block) -> None:
    if "/events" in block.text:
        assert (await client.ask("my-chat", "hello")).outcome == "done"


@pytest.mark.parametrize("block", OF_KIND["python"], ids=lambda one: one.name)
async def test_a_program_prints_the_reply(
    block: Block, cluster: Cluster, tmp_path: Path, redis_url: str, ollama: FakeOllama
) -> None:
    said = await run([sys.executable, "-c", here(block.text, cluster, redis_url)], tmp_path)
    assert "word0 word1 word2" in said


def here(text: str, cluster: Cluster, redis_url: str) -> str:
    """The text for a server that is somewhere else."""
    return text.replace(PLACE, cluster.url).replace("redis-cli", f"redis-cli -u {redis_url}")


async def run(command: list[str], folder: Path) -> str:
    """What it says; it ends well."""
    program = Program(command, folder / "said.log", env={**clean_environment(), "PYTHONPATH": str(ROOT)})
    await program.start()
    assert await program.wait(100) == 0, program.output
    return program.output
