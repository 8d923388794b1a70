"""The user's own tools in the image: found where they are mounted, without network and without keys, and
read again when they change.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.containers.stack import BACKENDS, Stack, wait_until
from tests.world.own_tools import agent, fill

pytestmark = pytest.mark.timeout(400)

CALL = """
import asyncio, json, sys
from app.agents.own.files import OwnTools
from app.settings import load

async def main(name, given):
    async with OwnTools(load(), set()) as own:
        await own.reread()
        use = {"toolUseId": "1", "name": name, "input": given}
        async for event in own.tool_named(name).stream(use, {}):
            print(json.dumps(event))

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""
EATER = '''
from strands import tool


@tool
def eat_all() -> str:
    """Takes more memory than the container has."""
    return str(sum(bytearray(2_000_000_000)))
'''


@pytest.fixture(scope="module")
def tooled(stack: Stack) -> Stack:
    """The stack, with tools, an agent that has them and a file of servers."""
    fill(stack.folder / "tools")
    (stack.folder / "tools" / "eater.py").write_text(EATER)
    (stack.folder / "mine").mkdir(exist_ok=True)
    (stack.folder / "mine" / "user.toml").write_text(agent("greet"))
    (stack.folder / "mcp.json").write_text('{"mcpServers": {}}')
    settings = {
        "AGENTS_DIR": "mine",
        "TOOLS_DIR": "tools",
        "MCP_CONFIG": "mcp.json",
        "TOOL_MEMORY_MB": "4000",
    }
    (stack.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    stack.make("restart", OPENAI_API_KEY="canary-key")
    wait_until(lambda: every(stack, lambda one: "good.py" in one.get("tools", {})), seconds=90)
    return stack


def every(stack: Stack, holds: Any) -> bool:
    answer = stack.client.get("/api/v1/status")
    backends = answer.json()["backends"] if answer.status_code == 200 else []  # while backends change, 503
    return len(backends) == 3 and all(holds(one) for one in backends)


def call(stack: Stack, tool: str, **given: object) -> Any:
    said = stack.inside("backend1", "python", "-c", CALL, tool, json.dumps(given))
    return json.loads(said.splitlines()[-1])


def test_tools_answer_in_a_container_without_network_or_keys(tooled: Stack) -> None:
    assert call(tooled, "greet", name="Ann")["content"] == [{"text": "Hello Ann (1)"}]
    assert call(tooled, "reach", port=6379)["content"] == [{"text": "shut shut shut shut shut"}]
    assert "canary" not in str(call(tooled, "environment"))
    assert "canary" in tooled.inside("backend1", "cat", "/proc/1/environ")
    assert "canary" not in str(call(tooled, "peep"))
    assert "without network" in tooled.make("doctor").stdout


def test_a_tool_that_takes_all_memory_is_ended_and_the_backend_lives(tooled: Stack) -> None:
    before = [tooled.inspect(name)["State"]["Pid"] for name in BACKENDS]
    assert call(tooled, "eat_all")["status"] == "error"
    assert tooled.client.get("/health").status_code == 200
    assert [tooled.inspect(name)["State"]["Pid"] for name in BACKENDS] == before


def test_files_that_change_outside_are_read_again_inside(tooled: Stack) -> None:
    (tooled.folder / "mine" / "later.toml").write_text(agent("shout"))
    (tooled.folder / "tools" / "more.py").write_text(EATER.replace("eat_all", "shout"))
    wait_until(lambda: all("shout" in tools_of(tooled, "later") for _ in range(6)))
    replace(tooled.folder / "mcp.json", '{"mcpServers": {}}')
    wait_until(lambda: every(tooled, lambda one: "make restart" in str(one.get("mistakes"))))


def tools_of(stack: Stack, name: str) -> list[str]:
    listed = stack.client.get("/api/v1/agents").json()["agents"]
    return next((one["tools"] for one in listed if one["name"] == name), [])


def replace(path: Path, text: str) -> None:
    """As many editors write: a new file in the place of the old one."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
