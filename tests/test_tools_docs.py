"""What docs/tools.md shows works as it stands there."""

import json
import re
import sys
from pathlib import Path

from tests.conftest import ollama_env
from tests.test_mcp import result
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.own_tools import tools_of
from tests.world.processes import ROOT
from tests.world.waiting import eventually


def shown(kind: str) -> list[str]:
    """The pieces of this kind in the page."""
    return re.findall(rf"```{kind}\n(.*?)```", (ROOT / "docs" / "tools.md").read_text(), re.DOTALL)


def write(where: Path) -> None:
    """As somebody who does what the page says."""
    tool, server = shown("python")
    assert len([line for line in tool.splitlines() if line]) == 5
    assert len(shown("json")[0].splitlines()) == 5
    (where / "tools").mkdir()
    (where / "tools" / "greet.py").write_text(tool)
    (where / "shop.py").write_text(server)
    (where / "user.toml").write_text(shown("toml")[0])
    named = json.loads(shown("json")[0])
    named["mcpServers"]["shop"] = {"command": sys.executable, "args": [str(where / "shop.py")]}
    (where / "mcp.json").write_text(json.dumps(named))


async def test_the_tool_and_the_server_of_the_page_answer(
    where: Path, redis_url: str, ollama: FakeOllama, chat_id: str
) -> None:
    write(where)
    folders = {
        "AGENTS_DIR": str(where),
        "TOOLS_DIR": str(where / "tools"),
        "MCP_CONFIG": str(where / "mcp.json"),
    }
    env = {**ollama_env(ollama), **folders}
    async with Cluster(where, redis_url, env=env, backends=1) as cluster, cluster.client() as client:
        await eventually(lambda: both(client), within=90)
        for tool, given, said in (
            ("greet", {"name": "Ann"}, "Hello Ann!"),
            ("shop_price", {"item": "tea"}, "tea: 3.50"),
        ):
            ollama.default = Reply(tool=ToolCall(tool, given), tokens=["over"])
            stream = await client.ask(f"{chat_id}-{tool}", "use it", agent="user")
            assert result(stream) == ("done", said)


async def both(client: Client) -> bool:
    return {"greet", "shop_price"} <= set(await tools_of(client, "user"))
