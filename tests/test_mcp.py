"""MCP servers: their tools are an agent's, a stop reaches them, and whatever one does harms nobody else."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from app.agents.mcpfile import read_servers
from tests.conftest import ollama_env
from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.processes import ROOT
from tests.world.waiting import eventually

LOADED = """
import sys
from app.backend import Backend
from app.settings import Settings

Backend(Settings())
print([name for name in sys.modules if name == "mcp" or name.startswith(("mcp.", "app.agents.mcp"))])
"""
FAKE = ROOT / "tests" / "world" / "fakes" / "mcp_server.py"
AGENT = 'description = "uses servers"\nprompt = "Use them."\nmcp = ["fake", "silent", "missing"]\n'


@pytest.fixture(scope="module")
async def the_served(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    """One backend with a server that works, one that is silent and one that does not exist."""
    where = tmp_path_factory.mktemp("mcp")
    (where / "user.toml").write_text(AGENT)
    (where / "picky.toml").write_text(AGENT.replace('"fake", "silent", "missing"', '"fake.echo"'))
    servers = {
        "fake": {"command": sys.executable, "args": [str(FAKE), "${MCP_LOG}"], "type": "stdio"},
        "silent": {"command": "sleep", "args": ["1000"]},
        "missing": {"command": "/no/such/program", "transport": "stdio"},
        "off": {"command": "sleep", "args": ["1000"], "disabled": True},
    }
    (where / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    env = {
        **ollama_env(the_ollama),
        "AGENTS_DIR": str(where),
        "MCP_CONFIG": str(where / "mcp.json"),
        "MCP_LOG": str(where / "mcp.log"),
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
        "MCP_TOOL_SECONDS": "8",
    }
    async with Cluster(where, redis_url, env=env, backends=1) as cluster:
        yield cluster


@pytest.fixture
async def served(the_served: Cluster, ollama: FakeOllama) -> Cluster:
    async with the_served.client() as client:
        await eventually(lambda: ready(client), within=30)
    return the_served


async def ready(client: Client) -> bool:
    return "fake_echo" in await tools(client, "user")


async def tools(client: Client, agent: str) -> list[str]:
    listed = (await client.get("/api/v1/agents"))["agents"]
    return next(list(one["tools"]) for one in listed if one["name"] == agent)


async def state(client: Client, server: str) -> dict[str, Any]:
    (backend,) = [
        one for one in (await client.get("/api/v1/status"))["backends"] if server in one.get("mcp", {})
    ]
    return dict(backend["mcp"][server])


def seen(cluster: Cluster, word: str) -> int:
    return (cluster.where / "mcp.log").read_text().splitlines().count(word)


async def use(client: Client, ollama: FakeOllama, chat_id: str, tool: str, **given: Any) -> Stream:
    ollama.default = Reply(tool=ToolCall(f"fake_{tool}", given), tokens=["over"])
    return await client.ask(chat_id, "use it", agent="user")


def result(stream: Stream) -> tuple[str, str]:
    last = stream.of("tool")[-1]
    return last["status"], last.get("output", "")


async def test_the_tool_of_a_server_answers_in_a_chat(
    served: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    async with served.client() as client:
        stream = await use(client, ollama, chat_id, "echo", text="hello there")
        assert (stream.outcome, result(stream)) == ("done", ("done", "hello there"))
        assert await tools(client, "picky") == ["fake_echo"]


async def test_servers_that_are_silent_or_missing_say_why_in_the_status(served: Cluster) -> None:
    async with served.client() as client:
        assert (await eventually(lambda: lost(client, "missing"), within=30))[
            "reason"
        ] == "there is no such program"
        assert "did not answer" in (await eventually(lambda: lost(client, "silent"), within=60))["reason"]
        assert (await state(client, "fake"))["state"] == "ready"


async def lost(client: Client, server: str) -> dict[str, Any] | None:
    told = await state(client, server)
    return told if told["state"] == "lost" else None


async def test_a_stop_ends_the_call_and_the_server_sees_it(
    served: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    before = seen(served, "cancelled")
    ollama.default = Reply(tool=ToolCall("fake_slow"))
    async with served.client() as client, client.chat(chat_id, "use it", agent="user") as stream:
        await stream.until(lambda s: bool(s.of("tool")))
        await eventually(lambda: seen(served, "call slow"))
        assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
        assert (await stream.rest()).of("tool")[-1]["status"] == "stopped"
        await eventually(lambda: seen(served, "cancelled") > before)
        again = await use(client, ollama, chat_id, "echo", text="still here")
        assert result(again) == ("done", "still here")


@pytest.mark.parametrize("harm", ["die", "flood", "garbage", "slow"])
async def test_a_server_that_goes_wrong_is_an_error_for_the_model_and_comes_back(
    served: Cluster, ollama: FakeOllama, chat_id: str, harm: str
) -> None:
    async with served.client() as client:
        stream = await use(client, ollama, chat_id, harm)
        assert stream.outcome == "done"
        assert result(stream)[0] == "failed"
        stream = await use(client, ollama, f"{chat_id}-again", "echo", text="back")
        assert result(stream) == ("done", "back")
        assert memory(served.backends[1].pid) < 400


def memory(pid: int) -> float:
    """Peak, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


async def test_a_long_answer_is_cut_and_the_environment_of_a_server_has_no_secrets(
    served: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    async with served.client() as client:
        await use(client, ollama, chat_id, "long")
        told = ollama.exchanges[-1].body["messages"][-1]["content"]
        assert 20_000 <= len(str(told)) < 20_200
        stream = await use(client, ollama, f"{chat_id}-env", "environment")
        names = result(stream)[1]
        assert "PATH" in names
        assert not [name for name in ("AWS", "REDIS", "MCP_LOG", "OLLAMA") if name in names]


async def test_long_names_that_begin_alike_are_two_tools(served: Cluster) -> None:
    async with served.client() as client:
        long = [name for name in await tools(client, "user") if name.startswith("fake_long-")]
        assert len({*long}) == 2
        assert all(len(name) <= 64 for name in long)


TEXT = {"type": "text", "text": "one"}
PICTURE = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
RESOURCE = {"uri": "file:///x", "mimeType": "text/plain", "text": "what it holds"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"content": [TEXT, {**TEXT, "text": "two"}]}, "one\ntwo"),
        ({"content": [{**TEXT, "text": ""}, TEXT]}, "\none"),
        ({"content": [], "structuredContent": {"grad": "5°"}}, '{"grad": "5°"}'),
        ({"content": [TEXT], "structuredContent": {"one": 1}}, "one"),
        ({"content": [{"type": "resource", "resource": RESOURCE}]}, "what it holds"),
        ({"content": [{"type": "resource_link", "name": "x", "uri": "file:///x"}]}, "x: file:///x"),
        ({"content": [TEXT, PICTURE]}, "one\n(image)"),
    ],
)
async def test_every_form_of_an_answer_is_told(
    served: Cluster, ollama: FakeOllama, chat_id: str, answer: dict[str, Any], told: str
) -> None:
    async with served.client() as client:
        assert result(await use(client, ollama, chat_id, "exactly", **answer)) == ("done", told)
        assert ollama.exchanges[-1].body["messages"][-1]["content"] == told


class HttpServer:
    """Streamable HTTP by hand, on one port; `path` tells how it behaves."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.elsewhere = 0

    async def good(self, request: web.Request) -> web.Response:
        asked = await request.json()
        match asked["method"]:
            case "initialize":
                version = asked["params"]["protocolVersion"]
                info = {"name": "web", "version": "1"}
                told: Any = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list":
                tool = {"name": "add", "description": "adds", "inputSchema": {"type": "object"}}
                told = {"tools": [tool, {**tool, "name": "huge"}]}
            case "tools/call":
                self.calls.append(asked["params"]["name"])
                size = 100_000_000 if self.calls[-1] == "huge" else 2
                told = {"content": [{"type": "text", "text": "4" * size}], "isError": False}
            case _ if "id" in asked:
                error = {"code": -32601, "message": "no such method"}
                return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
            case _:
                return web.Response(status=202)
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": told})

    async def moved(self, _: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async def other(self, _: web.Request) -> web.Response:
        self.elsewhere += 1
        return web.Response(text="<html>")


async def test_servers_at_an_address_answer_or_say_why_not(
    where: Path, redis_url: str, ollama: FakeOllama, chat_id: str
) -> None:
    server, app = HttpServer(), web.Application()
    app.add_routes([web.post("/mcp", server.good), web.post("/moved", server.moved)])
    app.add_routes([web.route("*", "/elsewhere", server.other), web.post("/html", server.other)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    servers = {name: {"url": f"{url}/{path}"} for name, path in (("fake", "mcp"), ("moved", "moved"))}
    (where / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (where / "user.toml").write_text(AGENT.replace('"fake", "silent", "missing"', '"fake", "moved"'))
    env = {**ollama_env(ollama), "AGENTS_DIR": str(where), "MCP_CONFIG": str(where / "mcp.json")}
    async with Cluster(where, redis_url, env=env, backends=1) as cluster, cluster.client() as client:
        await eventually(lambda: listed(client, "fake_add"), within=30)
        assert result(await use(client, ollama, chat_id, "add")) == ("done", "44")
        assert (await eventually(lambda: lost(client, "moved"), within=30))["reason"]
        assert server.elsewhere == 0
        assert result(await use(client, ollama, f"{chat_id}-2", "huge"))[0] == "failed"
        assert memory(cluster.backends[1].pid) < 400
        assert result(await use(client, ollama, f"{chat_id}-3", "add")) == ("done", "44")
    await runner.cleanup()


async def listed(client: Client, tool: str) -> bool:
    return tool in await tools(client, "user")


def test_without_a_file_nothing_of_it_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{", "Expecting"),
        ('{"servers": []}', "mcpServers must name"),
        ('{"mcpServers": {"a b": {"command": "x"}}}', "a server's name"),
        ('{"mcpServers": {"a": {"type": "http"}}}', "a: needs a url"),
        ('{"mcpServers": {"a": {"type": "pigeon", "url": "http://x"}}}', "type is stdio, http or sse"),
        ('{"mcpServers": {"a": {"command": "x", "args": "y"}}}', "a.args"),
        ('{"mcpServers": {"a": {"command": "${NOT_SET}"}}}', "NOT_SET is not set"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_where(tmp_path: Path, written: str, told: str) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(written)
    with pytest.raises(ValueError, match=r"^MCP_CONFIG: ") as raised:
        read_servers(str(file), {})
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_forms_of_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    servers = {
        "a": {"url": "http://x/mcp", "headers": {"Authorization": "Bearer ${KEY}"}},
        "b": {"type": "streamable-http", "url": "${PLACE:-http://y}/mcp"},
        "c": {"transport": "sse", "url": "http://z"},
        "d": {"command": "x", "disabled": True},
    }
    file.write_text(json.dumps({"mcpServers": servers}))
    read = read_servers(str(file), {"KEY": "k"})
    assert [(name, one.kind) for name, one in read.items()] == [("a", "http"), ("b", "http"), ("c", "sse")]
    assert read["a"].headers == {"Authorization": "Bearer k"}
    assert read["b"].url == "http://y/mcp"


async def test_the_doctor_tells_which_servers_do_not_answer(where: Path) -> None:
    from app.agents.mcp import Servers
    from app.doctor.mcp import _states
    from app.settings import Settings

    servers = {
        "fake": {"command": sys.executable, "args": [str(FAKE), str(where / "log")]},
        "missing": {"command": "/no/such/program"},
    }
    (where / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    settings = Settings.model_validate({"mcp_config": str(where / "mcp.json")})
    told = await _states(Servers(settings, {}))
    assert (told["fake"]["state"], told["fake"]["tools"]) == ("ready", 11)
    assert (told["missing"]["state"], told["missing"]["reason"]) == ("lost", "there is no such program")
    assert (where / "log").read_text().splitlines()[0] == "began"
