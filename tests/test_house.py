"""The rules of the house hold: who may import whom, what the types catch, how scripts are called."""

import ast
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from app.agents.tee import Sink
from app.main import build
from app.settings import Settings
from app.store.wire.script import Script
from tests.world.processes import ROOT

SCRATCH = """
from app.api.here import Here
from app.store.commands import release
from app.store.records import LiveRun


async def route(here: Here, live: LiveRun) -> None:
    release(live)
    print(here.runs.drainng)
"""


def sources() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text())) for path in sorted((ROOT / "app").rglob("*.py"))]


def test_a_mistyped_attribute_and_a_command_that_nobody_carries_out_are_errors(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch.py"
    scratch.write_text(SCRATCH)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(scratch)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert '"Runs" has no attribute "drainng"' in told
    assert "[unused-awaitable]" in told


@pytest.mark.parametrize(
    ("where", "upwards"),
    [
        ("runs", "app.chat.send"),
        ("store", "app.runs.feed"),
        ("agents", "app.runs.run"),
        ("chat", "app.backend"),
    ],
)
def test_an_import_upwards_is_an_error(tmp_path: Path, where: str, upwards: str) -> None:
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "app" / where / "scratch.py").write_text(f"import {upwards}\n")
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"app.{where}.scratch -> {upwards}" in done.stdout.replace("is not allowed to import", "->")


def test_the_doors_are_shut() -> None:
    doors = {
        "fastapi": ("api", "main.py"),
        "starlette": ("api",),
        "redis": ("store",),
        "strands": ("agents",),
    }
    for path, tree in sources():
        for node in ast.walk(tree):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                allowed = doors.get((name or "").split(".")[0])
                assert not allowed or path.relative_to(ROOT / "app").parts[0] in allowed, (path, name)


# of Strands' `Model` and `AgentTool`, a provider's file, and whatever an agent pours its answer into
PRESCRIBED = {"stream", "get_config", "update_config", "structured_output", "open", *vars(Sink)}
PRESCRIBED |= {"tool_name", "tool_spec", "tool_type"}


def test_few_names_stand_for_several_things() -> None:
    found = defaultdict(set)
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found[node.name].add(path)
    many = {name for name, paths in found.items() if len(paths) >= 3 and not name.startswith("__")}
    assert len(many - PRESCRIBED) <= 12, sorted(many)


def test_a_wrong_or_missing_argument_of_a_script_is_a_type_error() -> None:
    script = Script("return 1", keys="chat", args="run_id life")
    assert script(chat="c", run_id="r", life=1)[2:] == (1, "c", "r", 1)
    for wrong in ({"chat": "c", "run_id": "r"}, {"chat": "c", "run_id": "r", "life": 1, "more": 1}):
        with pytest.raises(TypeError):
            _ = script(**wrong)
    for value in (None, True, b"x", ["x"]):
        with pytest.raises(TypeError):
            _ = script(chat="c", run_id=value, life=1)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError):
        _ = script("tail", chat="c", run_id="r", life=1)


def test_no_script_counts_its_arguments() -> None:
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "redis.call" in node.value:
                for number in ("ARGV[1", "ARGV[2", "KEYS[1", "KEYS[2"):
                    assert number not in node.value, path


async def test_the_api_description_is_valid_and_every_answer_in_it_has_a_model() -> None:
    described = await description()
    validate(described)
    operations = [one for path in described["paths"].values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(names) == len(set(names))
    for one in operations:
        assert one["summary"]
        for status, answer in one["responses"].items():
            for kind, content in answer.get("content", {}).items():
                if kind == "application/json" and status.startswith("2"):
                    assert "$ref" in str(content["schema"]), one["operationId"]


async def description() -> dict[str, Any]:
    transport = httpx.ASGITransport(app=build(Settings.model_validate({}))[1])
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        described: dict[str, Any] = (await client.get("/openapi.json")).json()
    return described
