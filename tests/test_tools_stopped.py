"""Stops inside calls of every kind that leave the backend, and servers that die in mid-call: the work ends,
the next call works, and nothing is left behind, however often (SOAK_TOOL_STOPS, SOAK_MCP_RESTARTS).
"""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import monotonic
from typing import Any

import pytest

from tests.conftest import ollama_env
from tests.test_mcp import listed, result
from tests.test_mcp_lines import RESTARTS, SDK, ask_for, echoes
from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, Reply, ToolCall
from tests.world.own_tools import below
from tests.world.processes import Program, free_port
from tests.world.waiting import eventually

STOPS = int(os.environ.get("SOAK_TOOL_STOPS", "8"))
MORE = 6  # connections to Redis and the model, which are kept; fewer than the fewest stops
KINDS = ("stdio", "sse", "streamable-http")
pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Party:
    """One backend, a server behind each kind of line, and an agent that works for another."""

    cluster: Cluster
    programs: dict[str, Program]

    def server(self, kind: str) -> int:
        """The process of this server."""
        if kind in self.programs:
            return self.programs[kind].pid
        found = below(self.cluster.backends[1].pid)
        return next((pid for pid, words in found.items() if f"{SDK.name} stdio" in words), 0)

    async def restart(self, kind: str) -> None:
        """A program is started anew by the backend itself."""
        if program := self.programs.get(kind):
            await program.wait()
            await program.start()


@pytest.fixture(scope="module")
async def party(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Party]:
    where, ports = tmp_path_factory.mktemp("stopped"), {kind: free_port() for kind in KINDS[1:]}
    servers: dict[str, Any] = {"stdio": {"command": sys.executable, "args": [str(SDK), "stdio"]}}
    for kind, path in (("sse", "sse"), ("streamable-http", "mcp")):
        servers[kind] = {"type": kind, "url": f"http://127.0.0.1:{ports[kind]}/{path}"}
    (where / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    about = f'description = "d"\nprompt = "p"\ntools = ["tasks", "slow"]\nmcp = {json.dumps([*servers])}\n'
    (where / "user.toml").write_text(f'{about}agents = ["helper"]\n')
    (where / "helper.toml").write_text('description = "d"\nprompt = "p"\n')
    env = {**ollama_env(the_ollama), "AGENTS_DIR": str(where), "MCP_CONFIG": str(where / "mcp.json")}
    programs = {
        kind: Program([sys.executable, str(SDK), kind, str(port)], where / f"{kind}.log")
        for kind, port in ports.items()
    }
    try:
        for program in programs.values():
            await program.start()
        async with Cluster(
            where, redis_url, env=env, backends=1, module="tests.world.with_slow_tool"
        ) as cluster:
            yield Party(cluster, programs)
    finally:
        for program in programs.values():
            await program.end(signal.SIGKILL)


@asynccontextmanager
async def in_a_call(
    client: Client, ollama: FakeOllama, chat_id: str, tool: str, **given: str
) -> AsyncIterator[Stream]:
    """A reply inside a call of this tool."""
    ollama.default = Reply(tool=ToolCall(tool, dict(given)), tokens=["over"])
    async with client.chat(chat_id, "use it", agent="user") as stream:
        await stream.until(lambda s: bool(s.of("tool")))
        yield stream


async def what_is_held(party: Party, client: Client, ollama: FakeOllama, chat_id: str) -> dict[str, int]:
    """Tasks of the backend, and descriptors, threads and children of it and of the servers."""
    stream = await ask_for(client, ollama, chat_id, "tasks")
    held = {"tasks": int(result(stream)[1])}
    for name, pid in {
        "backend": party.cluster.backends[1].pid,
        **{k: party.server(k) for k in KINDS},
    }.items():
        held[f"descriptors of {name}"] = len(os.listdir(f"/proc/{pid}/fd"))
        held[f"threads of {name}"] = len(os.listdir(f"/proc/{pid}/task"))
        held[f"children of {name}"] = len(below(pid))
    return held


async def more_is_held(
    party: Party, client: Client, ollama: FakeOllama, names: Iterator[str], before: dict[str, int]
) -> dict[str, tuple[int, int]]:
    now = await what_is_held(party, client, ollama, next(names))
    return {name: (before[name], now[name]) for name in now if now[name] > before[name] + MORE}


@pytest.fixture
def names(new_chat: Callable[[], str]) -> Iterator[str]:
    """Chats that were never used."""
    return iter(new_chat, "")


async def nothing_more(
    party: Party, client: Client, ollama: FakeOllama, names: Iterator[str], before: dict[str, int]
) -> None:
    async def same() -> bool:
        return not await more_is_held(party, client, ollama, names, before)

    try:
        await eventually(same, within=30, every=0.2)
    except AssertionError:
        pytest.fail(f"more than before: {await more_is_held(party, client, ollama, names, before)}")


@pytest.mark.parametrize("kind", KINDS)
async def test_stops_inside_a_call_end_its_work_and_leave_nothing(
    party: Party, ollama: FakeOllama, names: Iterator[str], where: Path, kind: str
) -> None:
    tool, stops, lives = f"{kind}_hold", [], []
    async with party.cluster.client() as client:
        await eventually(lambda: listed(client, tool), within=60)
        before: dict[str, int] = {}
        for n in range(STOPS):
            mark = where / f"mark-{n}"
            chat_id = next(names)
            async with in_a_call(client, ollama, chat_id, tool, mark=str(mark)) as stream:
                await eventually(mark.exists, within=30, every=0.002)
                stopped = await client.stop(chat_id, wait=5000)
                began = monotonic()
                assert stopped["result"] == "stopped"
                await eventually(Path(f"{mark}-over").exists, within=30, every=0.002)
                lives.append((monotonic() - began) * 1000)
                stops.append(stopped["stop_ms"])
                assert (await stream.rest()).of("tool")[-1]["status"] == "stopped"
            before = before or await what_is_held(party, client, ollama, next(names))
        assert await echoes(client, ollama, next(names), f"{kind}_echo")
        await nothing_more(party, client, ollama, names, before)
    tell(kind, stops, lives)


def tell(kind: str, stops: list[float], lives: list[float]) -> None:
    for what, times in (("a stop took", stops), ("the work lived on for", lives)):
        print(f"{kind}: {what} {median(times):.1f} ms at p50, {quantiles(times, n=100)[98]:.1f} ms at p99")


async def test_stops_inside_another_agent_leave_nothing(
    party: Party, ollama: FakeOllama, names: Iterator[str]
) -> None:
    stops, lives = [], []
    async with party.cluster.client() as client:
        before: dict[str, int] = {}
        for n in range(STOPS):
            ollama.on(f"task {n}", HELD)
            chat_id = next(names)
            async with in_a_call(client, ollama, chat_id, "helper", task=f"task {n}") as stream:
                (exchange,) = await eventually(lambda n=n: ollama.of(f"task {n}"), within=30, every=0.002)  # type: ignore[misc]
                stopped = await client.stop(chat_id, wait=5000)
                began = monotonic()
                assert stopped["result"] == "stopped"
                await eventually(lambda e=exchange: e.left_at, within=30, every=0.002)  # type: ignore[misc]
                lives.append(max(0.0, exchange.left_at - began) * 1000)
                stops.append(stopped["stop_ms"])
                assert (await stream.rest()).of("tool")[-1]["status"] == "stopped"
            before = before or await what_is_held(party, client, ollama, next(names))
        await nothing_more(party, client, ollama, names, before)
        assert ollama.open_streams == 0
    tell("another agent", stops, lives)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_dies_in_mid_call_comes_back_each_time(
    party: Party, ollama: FakeOllama, names: Iterator[str], where: Path, kind: str
) -> None:
    async with party.cluster.client() as client:
        await eventually(lambda: listed(client, f"{kind}_hold"), within=60)
        before: dict[str, int] = {}
        for n in range(RESTARTS):
            mark = where / f"mark-{n}"
            async with in_a_call(client, ollama, next(names), f"{kind}_hold", mark=str(mark)) as stream:
                await eventually(mark.exists, within=30)
                os.kill(party.server(kind), signal.SIGKILL)
                await party.restart(kind)
                assert (await stream.rest()).of("tool")[-1]["status"] == "failed"
                assert stream.outcome == "done"
            await eventually(lambda: echoes(client, ollama, next(names), f"{kind}_echo"), within=60)
            before = before or await what_is_held(party, client, ollama, next(names))
        await nothing_more(party, client, ollama, names, before)
