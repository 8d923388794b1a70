"""Files of tools that mean harm or stumble: each is one line, and what lies in private places stays there."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.agents.own import shut
from app.agents.own.files import OwnTools
from app.settings import Settings

GOOD = '''
from strands import tool


@tool
def good(x: float = float("inf"), y: float = float("nan")) -> str:
    """Has limits that no JSON has."""
    return "well"


@tool
def read(path: str) -> str:
    """Reads a file."""
    try:
        return open(path).read()
    except OSError as error:
        return type(error).__name__
'''
FORGED = """
import json, os, socket
for number in range(3, 60):
    try:
        line = socket.socket(fileno=os.dup(number))
        said = json.dumps({told}).encode()
        line.sendall(len(said).to_bytes(4) + said)
    except OSError:
        pass
os._exit(0)
"""
NAMED = '''
from strands import tool


@tool(name={name!r})
def named() -> str:
    """{said}"""
    return ""
'''
WRONG = {
    "a_nameless": FORGED.format(told={"tools": [{"nme": "x"}]}),
    "b_no_list": FORGED.format(told={"tools": 7}),
    "c_nothing": FORGED.format(told={}),
    "d_lines": NAMED.format(name="x\nrun_id=<forged>", said="d"),
    "e_half": NAMED.format(name="half", said="\\ud800"),
}
PRIVATE = (".env", "run/settings.json", "data/dump.rdb", "backups/chat.tar.gz")


@asynccontextmanager
async def loaded(folder: Path) -> AsyncIterator[OwnTools]:
    async with OwnTools(Settings.model_validate({"tools_dir": str(folder)}), set()) as tools:
        await tools.reread()
        yield tools


async def test_a_file_that_lies_about_its_tools_is_one_line_and_the_others_work(tmp_path: Path) -> None:
    for name, source in {**WRONG, "good": GOOD}.items():
        (tmp_path / f"{name}.py").write_text(source)
    async with loaded(tmp_path) as tools:
        states = tools.state_of_each()
        assert [one["state"] for one in states.values()] == ["wrong"] * len(WRONG) + ["ready"]
        assert all(one["reason"].isprintable() for one in states.values())
        assert tools.names == ["good", "read"]
        good = tools.tool_named("good")
        assert good
        json.dumps(good.tool_spec, allow_nan=False, ensure_ascii=False).encode()


async def test_what_is_private_where_the_backend_was_started_no_tool_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere, tools_dir = (tmp_path / name for name in ("home", "etc", "tools"))
    for folder in (home, elsewhere, tools_dir):
        folder.mkdir()
    (elsewhere / "chat.env").write_text("canary")
    (home / ".env").symlink_to(elsewhere / "chat.env")
    for name in PRIVATE[1:]:
        (home / name).parent.mkdir()
        (home / name).write_text("canary")
    (home / "free.txt").write_text("free")
    (tools_dir / "good.py").write_text(GOOD)
    monkeypatch.chdir(home)
    async with loaded(tools_dir) as tools:
        read = tools.tool_named("read")
        assert read

        async def said(path: Path) -> str:
            use = {"toolUseId": "u", "name": "read", "input": {"path": str(path)}}
            (result,) = [one async for one in read.stream(use, {})]  # type: ignore[arg-type]
            return str(result["content"][0]["text"])

        assert await said(home / "free.txt") == "free"
        for path in (*(home / name for name in PRIVATE), elsewhere / "chat.env"):
            assert await said(path) == "PermissionError", path


# the numbers of the calls that are refused, in the kernel's own headers

ELF = {"x86_64": 62, "aarch64": 183, "riscv": 243, "arm": 40}
LANDLOCK = {
    "landlock_create_ruleset": shut._CREATE,
    "landlock_add_rule": shut._ADD,
    "landlock_restrict_self": shut._RESTRICT,
}
INCLUDE = Path("/usr/include")
ARCHITECTURES = {  # audit's word for it, and the headers of each: its own, or those for cross compilers
    ("x86_64", 8): ("x86_64", ["x86_64-linux-gnu/asm/unistd_64.h", "asm/unistd_64.h"]),
    ("aarch64", 8): ("aarch64", ["asm-generic/unistd.h"]),
    ("riscv64", 8): ("riscv", ["asm-generic/unistd.h"]),
    ("aarch64", 4): ("arm", ["../arm-linux-gnueabihf/include/asm/unistd-eabi.h"]),
    ("armv7l", 4): ("arm", ["../arm-linux-gnueabihf/include/asm/unistd-eabi.h"]),
    ("armv6l", 4): ("arm", ["../arm-linux-gnueabihf/include/asm/unistd-eabi.h"]),
}
NUMBER = re.compile(r"^#define __NR_(\w+)\s+(?:\(__NR_SYSCALL_BASE \+ )?(\d+)\)?$", re.MULTILINE)


@pytest.mark.parametrize("machine", shut._MACHINES, ids=str)
def test_the_calls_that_are_refused_have_the_numbers_of_the_kernel(machine: tuple[str, int]) -> None:
    """A wrong number would let a call through, on a machine that no test runs on."""
    _, headers = ARCHITECTURES[machine]
    found = [INCLUDE / name for name in headers if (INCLUDE / name).exists()]
    if not found:
        pytest.skip(f"needs the kernel's headers of {machine[0]} (linux-libc-dev)")
    told = {name: int(number) for name, number in NUMBER.findall(found[0].read_text())}
    _, numbers = shut._MACHINES[machine]
    assert numbers == {name: told[name] for name in numbers}
    for name, number in LANDLOCK.items():
        assert told[name] == number


@pytest.mark.parametrize("machine", shut._MACHINES, ids=str)
def test_the_kinds_of_machines_are_those_of_the_kernel(machine: tuple[str, int]) -> None:
    """AUDIT_ARCH: what ELF calls the processor, its width, and that it is little-endian."""
    wide = 0x80000000 if machine[1] == 8 else 0
    assert shut._MACHINES[machine][0] == ELF[ARCHITECTURES[machine][0]] | wide | 0x40000000
