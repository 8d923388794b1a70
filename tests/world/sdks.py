"""Other people's clients, in environments of their own: Python packages by pip, JavaScript by npm.

Installed once into the test environment's folder. Where that cannot be done the tests that need them are
skipped with a word.
"""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.world.processes import ROOT, clean_environment

HOME = Path(sys.prefix) / "clients"
SCRIPTS = ROOT / "tests" / "clients"
PYTHON = {
    "openai 2": "openai<3 langchain-openai requests httpx httpx-sse aiohttp",
    "openai 3": "openai>=3,<4",
    "mcp time": "mcp-server-time",
}
NODE = (
    "openai@6 ai@6 @ai-sdk/openai-compatible@2 @ag-ui/client@1 eventsource-parser@3 eventsource@4 "
    "event-source-polyfill@1 @microsoft/fetch-event-source@2"
)
INSTALL_SECONDS = 300


def python(name: str) -> list[str]:
    """The Python that has these packages."""
    folder = HOME / name.replace(" ", "-")
    program = folder / "bin" / "python"
    _once(folder, PYTHON[name], [
        [sys.executable, "-m", "venv", str(folder)],
        [str(program), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PYTHON[name].split()],
    ])  # fmt: skip
    return [str(program)]


def node() -> list[str]:
    """Node, with the packages beside the scripts it is given."""
    if not shutil.which("npm"):
        pytest.skip("npm is missing: the clients in JavaScript are not tried")
    folder = HOME / "node"
    folder.mkdir(parents=True, exist_ok=True)
    install = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder)]
    _once(folder, NODE, [[*install, *NODE.split()]])
    return ["node"]


def _once(folder: Path, what: str, commands: list[list[str]]) -> None:
    mark = folder / "installed"
    if mark.exists() and mark.read_text() == what:
        return
    for command in commands:
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"these clients cannot be installed here: {error}")
    mark.write_text(what)


async def told(program: list[str], script: str, *words: str, within: float = 60) -> Any:
    """Runs a script of tests/clients; what it tells on its last line, as JSON."""
    printed = await output(program, SCRIPTS / script, *words, within=within)
    return json.loads(printed.strip().splitlines()[-1])


async def output(
    program: list[str], path: Path, *words: str, env: Mapping[str, str] | None = None, within: float = 60
) -> str:
    """Runs a script for so many seconds at most; what it prints."""
    if path.suffix == ".mjs":  # packages are looked for beside the script
        path = Path(shutil.copy(path, HOME / "node"))
    process = await asyncio.create_subprocess_exec(
        *program, str(path), *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**clean_environment(), **(env or {})},
    )  # fmt: skip
    try:
        async with asyncio.timeout(within):
            out, wrong = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, wrong.decode()[-3000:]
    return out.decode()
