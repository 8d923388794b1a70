"""Every kind of line to an MCP server: real servers that are restarted under chats, and hostile ones."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import ollama_env
from tests.test_mcp import listed, lost, memory, result, tools
from tests.world import sdks
from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.own_tools import alive, below
from tests.world.processes import ROOT, Program, free_port
from tests.world.waiting import eventually

SDK = ROOT / "tests" / "world" / "fakes" / "mcp_sdk.py"
FAKE = ROOT / "tests" / "world" / "fakes" / "mcp_server.py"
TOOLS = ("echo", "die", "flood", "garbage", "endless")
RESTARTS = int(os.environ.get("SOAK_MCP_RESTARTS", "2"))


def with_servers(
    where: Path, redis_url: str, ollama: FakeOllama, servers: dict[str, Any], backends: int = 1
) -> Cluster:
    """Backends with these servers, all for the agent `user`."""
    (where / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (where / "user.toml").write_text(f'description = "d"\nprompt = "p"\nmcp = {json.dumps([*servers])}\n')
    env = {**ollama_env(ollama), "AGENTS_DIR": str(where), "MCP_CONFIG": str(where / "mcp.json")}
    return Cluster(where, redis_url, env={**env, "MCP_TOOL_SECONDS": "15"}, backends=backends)


@pytest.mark.timeout(400)
async def test_a_server_in_an_environment_of_its_own_answers_on_each_backend_and_is_started_anew(
    where: Path, redis_url: str, ollama: FakeOllama, chat_id: str
) -> None:
    program = sdks.python("mcp time")[0]
    server = {"command": program, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]}
    async with with_servers(where, redis_url, ollama, {"time": server}, backends=3) as cluster:
        ollama.default = Reply(
            tool=ToolCall("time_get_current_time", {"timezone": "Asia/Tokyo"}), tokens=["ok"]
        )
        for n in cluster.numbers:
            async with cluster.client(n) as client:
                await eventually(lambda client=client: listed(client, "time_get_current_time"), within=60)  # type: ignore[misc]
                stream = await client.ask(f"{chat_id}-{n}", "what time is it", agent="user")
                assert result(stream)[0] == "done"
                assert "+09:00" in result(stream)[1]
                for pid in servers_of(cluster, n):
                    os.kill(pid, signal.SIGKILL)
                await eventually(lambda client=client, n=n: tells(client, f"{chat_id}-{n}"), within=60)  # type: ignore[misc]
        left = [pid for n in cluster.numbers for pid in servers_of(cluster, n)]
        assert len(left) == 3
    assert not [pid for pid in left if alive(pid)]


async def tells(client: Client, chat_id: str) -> bool:
    """One call waits for a server that is coming back; a busy machine may take longer."""
    return result(await client.ask(chat_id, "and now", agent="user"))[0] == "done"


def servers_of(cluster: Cluster, n: int) -> list[int]:
    return [pid for pid, words in below(cluster.backends[n].pid).items() if "mcp_server_time" in words]


@dataclass(frozen=True)
class Lines:
    """One backend with servers behind every kind of line: two that change their tools, two at addresses
    (`real`) and, over SSE, one that does as it is told (`fake`) among six that are of no use.
    """

    cluster: Cluster
    real: dict[str, Program]
    hostile: "Hostile"


BAD = ("silent", "mute", "moved", "abroad", "html", "nobody")


@pytest.fixture(scope="module")
async def lines(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Lines]:
    where, ports = tmp_path_factory.mktemp("lines"), {"sse": free_port(), "streamable-http": free_port()}
    real = {
        kind: Program([sys.executable, str(SDK), kind, str(port)], where / f"{kind}.log")
        for kind, port in ports.items()
    }
    async with hostile_server() as (hostile, url):
        paths = {name: f"{url}/{name}/sse" for name in ("fake", *BAD[:4])}
        paths |= {"html": f"{url}/html", "nobody": f"http://127.0.0.1:{free_port()}/sse"}
        servers: dict[str, Any] = {name: {"type": "sse", "url": one} for name, one in paths.items()}
        servers["old"] = {"command": sys.executable, "args": [str(FAKE), str(where / "log")]}
        servers["new"] = {"command": sys.executable, "args": [str(SDK), "stdio"]}
        for kind, path in (("sse", "sse"), ("streamable-http", "mcp")):
            servers[kind] = {"type": kind, "url": f"http://127.0.0.1:{ports[kind]}/{path}"}
        async with with_servers(where, redis_url, the_ollama, servers) as cluster:
            yield Lines(cluster, real, hostile)
        for program in real.values():
            await program.end(signal.SIGKILL)


async def ask_for(client: Client, ollama: FakeOllama, chat_id: str, tool: str, **given: Any) -> Stream:
    """A reply that calls this tool."""
    ollama.default = Reply(tool=ToolCall(tool, given), tokens=["over"])
    return await client.ask(chat_id, "use it", agent="user")


@pytest.mark.parametrize("kind", ["sse", "streamable-http"])
async def test_a_server_at_an_address_may_be_restarted_under_chats(
    lines: Lines, ollama: FakeOllama, chat_id: str, kind: str
) -> None:
    tool, program = f"{kind}_echo", lines.real[kind]
    async with lines.cluster.client() as client:
        for n in range(RESTARTS):
            await program.start()
            await eventually(lambda: listed(client, tool), within=60)
            await eventually(lambda n=n: echoes(client, ollama, f"{chat_id}-{n}", tool), within=60)  # type: ignore[misc]
            await program.end(signal.SIGKILL)
            stream = await ask_for(client, ollama, f"{chat_id}-{n}-away", tool, text="hello")
            assert (stream.outcome, result(stream)[0]) == ("done", "failed")


async def echoes(client: Client, ollama: FakeOllama, chat_id: str, tool: str) -> bool:
    """No reply fails, whatever its tool meets."""
    stream = await ask_for(client, ollama, chat_id, tool, text="hello")
    assert stream.outcome == "done"
    return result(stream) == ("done", "hello")


@pytest.mark.parametrize("kind", ["old", "new"])
async def test_a_list_of_tools_that_changes_is_read_again(
    lines: Lines, ollama: FakeOllama, chat_id: str, kind: str
) -> None:
    """As servers told it until 2025, and as they do since."""
    async with lines.cluster.client() as client:
        await eventually(lambda: listed(client, f"{kind}_grow"), within=60)
        assert not await listed(client, f"{kind}_grown")
        stream = await ask_for(client, ollama, chat_id, f"{kind}_grow", name="grown")
        assert result(stream)[0] == "done"
        await eventually(lambda: listed(client, f"{kind}_grown"), within=30)


class Hostile:
    """SSE by hand, on one port; the path tells how it behaves."""

    def __init__(self) -> None:
        self.elsewhere = 0
        self._lines: dict[str, asyncio.Queue[bytes]] = {}

    async def stream(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info["kind"]
        if kind == "moved":
            raise web.HTTPTemporaryRedirect("/elsewhere")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        lines = self._lines[kind] = asyncio.Queue()
        if kind == "abroad":
            await answer.write(b"event: endpoint\ndata: http://192.0.2.1/messages\n\n")
        elif kind != "silent":
            await answer.write(f"event: endpoint\ndata: /{kind}/messages\n\n".encode())
        while line := await lines.get():
            await answer.write(line)
        return answer

    async def message(self, request: web.Request) -> web.Response:
        kind, asked = request.match_info["kind"], await request.json()
        lines = self._lines[kind]
        match asked["method"]:
            case "initialize":
                version = asked["params"]["protocolVersion"]
                info = {"name": "web", "version": "1"}
                told: Any = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list" if kind == "mute":
                return web.Response(status=202)
            case "tools/list":
                told = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
            case "tools/call":
                return await self._called(lines, asked)
            case _ if "id" in asked:
                await lines.put(message_of({"id": asked["id"], "error": {"code": -32601, "message": "no"}}))
                return web.Response(status=202)
            case _:
                return web.Response(status=202)
        await lines.put(message_of({"id": asked["id"], "result": told}))
        return web.Response(status=202)

    async def _called(self, lines: asyncio.Queue[bytes], asked: Any) -> web.Response:
        said = {"content": [{"type": "text", "text": "hello"}], "isError": False}
        match asked["params"]["name"]:
            case "die":
                await lines.put(b"")
            case "flood":
                await lines.put(b"event: message\ndata: " + b"x" * 100_000_000 + b"\n\n")
            case "endless":
                for _ in range(400):
                    await lines.put(b"data: " + b"x" * 100_000 + b"\n")
            case "garbage":
                await lines.put(b"event: message\ndata: {no JSON\n\nevent: nonsense\ndata: x\n\n\x00\xff\n\n")
                await lines.put(message_of({"id": asked["id"], "result": said}))
            case _:
                await lines.put(message_of({"id": asked["id"], "result": said}))
        return web.Response(status=202)

    async def other(self, _: web.Request) -> web.Response:
        self.elsewhere += 1
        return await self.page(_)

    async def page(self, _: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")


def message_of(message: dict[str, Any]) -> bytes:
    return f"event: message\ndata: {json.dumps({'jsonrpc': '2.0', **message})}\n\n".encode()


@asynccontextmanager
async def hostile_server() -> AsyncIterator[tuple[Hostile, str]]:
    server, app = Hostile(), web.Application()
    app.add_routes([web.get("/{kind}/sse", server.stream), web.post("/{kind}/messages", server.message)])
    app.add_routes([web.route("*", "/elsewhere", server.other), web.get("/html", server.page)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_hostile_servers_over_sse_harm_nobody_and_say_why(
    lines: Lines, ollama: FakeOllama, chat_id: str
) -> None:
    async with lines.cluster.client() as client:
        await eventually(lambda: listed(client, "fake_echo"), within=60)
        for harm in TOOLS:
            stream = await ask_for(client, ollama, f"{chat_id}-{harm}", f"fake_{harm}")
            assert stream.outcome == "done"
            assert result(stream)[0] == ("done" if harm in ("echo", "garbage") else "failed"), harm
            stream = await ask_for(client, ollama, f"{chat_id}-{harm}-again", "fake_echo")
            assert result(stream) == ("done", "hello"), harm
        assert memory(lines.cluster.backends[1].pid) < 400
        for name in BAD:
            assert (await eventually(lambda name=name: lost(client, name), within=60))["reason"]  # type: ignore[misc]
        assert lines.hostile.elsewhere == 0
        assert not [tool for tool in await tools(client, "user") if tool.startswith(BAD)]
