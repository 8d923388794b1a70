"""Halves of characters, as models and tools say them: they never hold a reply or its chat."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.agents.calls import read_object
from tests.conftest import ollama_env
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.own_tools import agent, tools_of
from tests.world.sides import Side
from tests.world.waiting import eventually

HALF = "\ud800"
TOOL = '''
from strands import tool


@tool
def named() -> str:
    """A name that is no UTF-8, as the system tells it."""
    return b"a\\xffb".decode(errors="surrogateescape")
'''


def write_files(where: Path) -> None:
    for name, content in {"tools/names.py": TOOL, "agents/namer.toml": agent("named")}.items():
        (where / name).parent.mkdir()
        (where / name).write_text(content)


@pytest.fixture(scope="module")
async def tooled(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    where = tmp_path_factory.mktemp("halves")
    write_files(where)
    env = {
        **ollama_env(the_ollama),
        "AGENTS_DIR": str(where / "agents"),
        "TOOLS_DIR": str(where / "tools"),
        "REDIS_PREFIX": "halves:",
    }
    async with Cluster(where, redis_url, env=env, backends=1) as cluster:
        yield cluster


async def test_half_a_character_in_what_a_model_gives_a_tool_ends_no_differently(
    side: Side, chat_id: str
) -> None:
    side.fake.script.append(Reply(tool=ToolCall("calculate", {"expression": HALF, "more": [{HALF: HALF}]})))
    side.fake.default = Reply(tokens=["over"])
    async with side.client() as client:
        stream = await client.ask(chat_id, "use it")
        assert (stream.outcome, stream.text) == ("done", "over")
        assert HALF.encode("unicode_escape") not in stream.raw
        info = await client.chat_info(chat_id)
        assert (info["status"], info["messages"][-1]["content"]) == ("active", "over")


async def test_half_a_character_in_what_a_tool_says_ends_no_differently(
    tooled: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    ollama.default = Reply(tool=ToolCall("named", {}), tokens=["over"])
    async with tooled.client() as client:

        async def is_there() -> bool:
            return "named" in await tools_of(client, "namer")

        await eventually(is_there, within=120)
        stream = await client.ask(chat_id, "use it", agent="namer")
        assert stream.outcome == "done"
        assert stream.of("tool")[-1]["output"] == "a\ufffdb"
        info = await client.chat_info(chat_id)
        assert info["messages"][-1]["parts"][0]["output"] == "a\ufffdb"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_what_is_no_number_in_any_json_is_no_argument(number: str) -> None:
    assert read_object(f'{{"x": [{number}]}}') is None
