"""Agents, tools and servers are read again when their files change, without a restart; what is wrong then
changes nothing and is said.
"""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ollama_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.own_tools import agent, marked, told, tools_of
from tests.world.processes import ROOT
from tests.world.waiting import eventually

FAKE = ROOT / "tests" / "world" / "fakes" / "mcp_server.py"
TOOL = '''
from pathlib import Path
from time import sleep
from strands import tool


@tool
def say(mark: str = "") -> str:
    """Says {word}."""
    while mark and not Path(mark).exists():
        sleep(0.01)
    return "{word}"
'''


class Files:
    """The folder of one backend that watches it."""

    def __init__(self, where: Path) -> None:
        self.where = where
        (where / "agents").mkdir()
        (where / "tools").mkdir()
        self.agent("user", tools=["say"])
        self.tool("one")
        self.servers("fake")

    def agent(self, name: str, tools: list[str], prompt: str = "p", more: str = "") -> None:
        text = agent(*tools).replace('"p"', json.dumps(prompt)) + more
        (self.where / "agents" / f"{name}.toml").write_text(text)

    def tool(self, word: str) -> None:
        (self.where / "tools" / "say.py").write_text(TOOL.format(word=word))

    def servers(self, *names: str, **more: Any) -> None:
        one = {"command": sys.executable, "args": [str(FAKE), str(self.where / "mcp.log")]}
        named = dict.fromkeys(names, one) | more
        (self.where / "mcp.json").write_text(json.dumps({"mcpServers": named}))

    def env(self) -> dict[str, str]:
        return {
            "AGENTS_DIR": str(self.where / "agents"),
            "TOOLS_DIR": str(self.where / "tools"),
            "MCP_CONFIG": str(self.where / "mcp.json"),
        }


@pytest.fixture(scope="module")
async def watched(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[tuple[Cluster, Files]]:
    where = tmp_path_factory.mktemp("reload")
    files = Files(where)
    env = {**ollama_env(the_ollama), **files.env(), "REDIS_PREFIX": "reload:"}  # a status of its own
    async with Cluster(where, redis_url, env=env, backends=1) as cluster, cluster.client() as client:
        await eventually(lambda: has(client, "user", "say"), within=120)
        yield cluster, files


async def has(client: Client, name: str, *tools: str) -> bool:
    return await tools_of(client, name) == list(tools)


async def mistake(client: Client, words: str) -> bool:
    return any(words in one for one in await told(client, "mistakes") or [])


async def no_mistake(client: Client) -> bool:
    return not await told(client, "mistakes")


async def test_a_new_agent_is_there_a_changed_one_changes_and_one_that_goes_is_gone(
    watched: tuple[Cluster, Files], ollama: FakeOllama, chat_id: str
) -> None:
    cluster, files = watched
    async with cluster.client() as client:
        files.agent("fresh", [], prompt="Speak softly.")
        await eventually(lambda: knows(client, "fresh"))
        await client.ask(chat_id, "hello", agent="fresh")
        assert "Speak softly." in str(ollama.exchanges[-1].body)
        files.agent("fresh", ["calculate"], prompt="Speak loudly.")
        await eventually(lambda: has(client, "fresh", "calculate"))
        await client.ask(chat_id, "hello again", agent="fresh")
        assert "Speak loudly." in str(ollama.exchanges[-1].body)
        (files.where / "agents" / "fresh.toml").unlink()
        await eventually(lambda: knows_not(client, "fresh"))


async def knows(client: Client, name: str) -> bool:
    return name in (await client.get("/agents"))["agents"]


async def knows_not(client: Client, name: str) -> bool:
    return not await knows(client, name)


async def test_a_wrong_agent_keeps_what_it_was_and_the_others_change(watched: tuple[Cluster, Files]) -> None:
    cluster, files = watched
    async with cluster.client() as client:
        files.agent("steady", ["calculate"])
        await eventually(lambda: has(client, "steady", "calculate"))
        files.agent("steady", [], more="nonsense = 1\n")
        files.agent("other", ["calculate"])
        await eventually(lambda: mistake(client, "steady.toml: nonsense: unknown key"))
        await eventually(lambda: has(client, "other", "calculate"))
        assert await has(client, "steady", "calculate")
        assert "steady.toml: nonsense: unknown key" in cluster.backends[1].output
        files.agent("steady", [])
        await eventually(lambda: has(client, "steady"))
        await eventually(lambda: no_mistake(client))


async def test_a_tool_changes_and_a_wrong_one_stays_as_it_was(
    watched: tuple[Cluster, Files], ollama: FakeOllama, chat_id: str
) -> None:
    cluster, files = watched
    async with cluster.client() as client:
        files.tool("two")
        await eventually(lambda: says(client, ollama, chat_id, "two"), within=30)
        (files.where / "tools" / "say.py").write_text("def broken(:\n")
        await eventually(lambda: file_is(client, "kept"), within=30)
        assert await says(client, ollama, chat_id, "two")
        assert await tools_of(client, "user") == ["say"]
        files.tool("three")
        await eventually(lambda: file_is(client, "ready"), within=30)
        assert await says(client, ollama, chat_id, "three")
        (files.where / "tools" / "say.py").unlink()
        await eventually(lambda: has(client, "user"), within=30)
        await eventually(lambda: mistake(client, "user: tools: unknown tool 'say'"))
        files.tool("four")
        await eventually(lambda: has(client, "user", "say"), within=30)


async def says(client: Client, ollama: FakeOllama, chat_id: str, word: str, **given: str) -> bool:
    ollama.default = Reply(tool=ToolCall("say", dict(given)), tokens=["over"])
    stream = await client.ask(chat_id, "use it", agent="user")
    return bool(stream.of("tool")[-1].get("output") == word)


async def file_is(client: Client, state: str) -> bool:
    return bool((await told(client, "tools"))["say.py"]["state"] == state)


async def test_a_running_reply_keeps_the_tools_it_began_with(
    watched: tuple[Cluster, Files], ollama: FakeOllama, chat_id: str, where: Path
) -> None:
    cluster, files = watched
    async with cluster.client() as client:
        files.tool("old")
        await eventually(lambda: says(client, ollama, f"{chat_id}-0", "old"), within=30)
        ollama.default = Reply(tool=ToolCall("say", {"mark": str(where / "mark")}), tokens=["over"])
        async with client.chat(chat_id, "use it", agent="user") as stream:
            await stream.until(lambda s: bool(s.of("tool")))
            files.tool("new")
            await eventually(lambda: says(client, ollama, f"{chat_id}-1", "new"), within=30)
            (where / "mark").touch()
            assert (await stream.rest()).of("tool")[-1]["output"] == "old"


async def test_servers_come_go_and_stay_and_a_wrong_file_changes_nothing(
    watched: tuple[Cluster, Files], ollama: FakeOllama, chat_id: str
) -> None:
    cluster, files = watched
    log = files.where / "mcp.log"
    async with cluster.client() as client:
        files.agent("serving", [], more='mcp = ["fake.echo"]\n')
        await eventually(lambda: has(client, "serving", "fake_echo"), within=30)
        began = log.read_text().splitlines().count("began")
        files.servers("fake", "second")
        await eventually(lambda: server(client, "second", "ready"), within=30)
        assert log.read_text().splitlines().count("began") == began + 1  # the first one was left alone
        files.servers("fake", wrong={"type": "pigeon", "url": "http://x"})
        await eventually(lambda: mistake(client, "wrong: type is stdio, http or sse"))
        assert await server(client, "second", "ready")
        files.servers("second")
        await eventually(lambda: mistake(client, "serving: mcp: MCP_CONFIG names no server 'fake'"))
        assert await has(client, "serving", "fake_echo")
        files.agent("serving", [], more='mcp = ["second.echo"]\n')  # now they fit together
        await eventually(lambda: has(client, "serving", "second_echo"), within=30)
        await eventually(lambda: no_mistake(client))
        assert set(await told(client, "mcp")) == {"second"}


async def server(client: Client, name: str, state: str) -> bool:
    return bool((await told(client, "mcp")).get(name, {}).get("state") == state)


async def test_a_reply_ends_with_the_server_it_began_with(
    watched: tuple[Cluster, Files], ollama: FakeOllama, chat_id: str
) -> None:
    cluster, files = watched
    log = str(files.where / "mcp.log")
    async with cluster.client() as client:
        files.servers("second", "third")
        files.agent("serving", [], more='mcp = ["third"]\n')
        await eventually(lambda: lists(client, "serving", "third_slow"), within=30)
        ollama.default = Reply(tool=ToolCall("third_slow"))
        async with client.chat(chat_id, "use it", agent="serving") as stream:
            await stream.until(lambda s: bool(s.of("tool")))
            files.agent("serving", [])
            files.servers("second")
            await eventually(lambda: only(client, "second"), within=30)
            assert len(marked(log)) == 2
            assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
            await stream.rest()
        await eventually(lambda: len(marked(log)) == 1)


async def lists(client: Client, name: str, tool: str) -> bool:
    return tool in await tools_of(client, name)


async def only(client: Client, *names: str) -> bool:
    return set(await told(client, "mcp")) == set(names)
