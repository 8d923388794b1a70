"""The user's own tools: run in processes of their own, ended by a stop, and whatever one does harms nobody
else.
"""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from time import monotonic

import pytest

from app.doctor.tools import own_tools
from app.settings import Settings
from tests.conftest import ollama_env
from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.own_tools import NAMES, agent, alive, below, fill, marked, told, tools_of
from tests.world.processes import ROOT, clean_environment
from tests.world.waiting import eventually

SHUT = "shut shut shut shut shut"
LOADED = """
import sys
from app.backend import Backend
from app.settings import Settings

Backend(Settings())
print([name for name in sys.modules if name.startswith("app.agents.own")])
"""
MORE_CONNECTIONS = 6  # to Redis and the model, which are kept; fewer than the fewest stops of a test
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "canary-aws",
    "AWS_ACCESS_KEY_ID": "canary-id",
    "API_KEYS": "",
    "OPENAI_API_KEY": "canary-openai",
}


@pytest.fixture(scope="module")
async def the_tooled(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    """One backend with tools of a user's own, among files that are wrong in every way."""
    where = tmp_path_factory.mktemp("tools")
    fill(where / "tools", bad=True)
    (where / "agents").mkdir()
    (where / "agents" / "user.toml").write_text(agent(*NAMES, "calculate"))
    (where / "agents" / "wrong.toml").write_text(agent("greet", "weathre"))
    env = {
        **ollama_env(the_ollama),
        **SECRETS,
        "REDIS_PREFIX": "tooled:",  # a status of its own
        "AGENTS_DIR": str(where / "agents"),
        "TOOLS_DIR": str(where / "tools"),
        "TOOL_TIMEOUT_SECONDS": "20",
        "TOOLS_ENV": "CITY, NOT_SET",
        "CITY": "Vienna",
    }
    async with Cluster(where, redis_url, env=env, backends=1) as cluster:
        yield cluster


@pytest.fixture
async def tooled(the_tooled: Cluster, ollama: FakeOllama) -> Cluster:
    async with the_tooled.client() as client:
        await eventually(lambda: ready(client), within=120)
    return the_tooled


async def ready(client: Client) -> bool:
    """Whether all files were looked at: the last of them is `twice`."""
    return "twice.py" in (await told(client, "tools") or {}) and "greet" in await tools_of(client, "user")


async def use(
    client: Client, ollama: FakeOllama, chat_id: str, tool: str, **given: object
) -> tuple[str, str]:
    """How the call of a tool went, and what the model was told."""
    ollama.default = Reply(tool=ToolCall(tool, dict(given)), tokens=["over"])
    stream = await client.ask(chat_id, "use it", agent="user")
    assert stream.outcome == "done"
    last = stream.of("tool")[-1]
    return last["status"], last.get("output", "")


async def test_functions_answer_in_a_chat_each_call_for_itself(
    tooled: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    async with tooled.client() as client:
        assert set(NAMES) < set(await tools_of(client, "user"))
        for n in range(3):  # what one call leaves behind no other sees
            done = await use(client, ollama, f"{chat_id}-{n}", "greet", name="Ann", times=2)
            assert done == ("done", "Hello Ann Hello Ann (1)")
        assert await use(client, ollama, f"{chat_id}-a", "later", text="soon") == ("done", 'soon\n{"n": 1}')
        specs = {one["function"]["name"]: one["function"] for one in ollama.exchanges[-1].body["tools"]}
        assert specs["greet"]["description"] == "Greets somebody."
        assert specs["greet"]["parameters"]["required"] == ["name"]


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "greet": ({"name": ["x"]}, "name: "),
    "refuse": ({}, "there is no such city"),
    "fail": ({}, "the tool failed"),
    "die": ({}, "the tool failed"),
    "leave": ({}, "the tool failed"),
    "eat": ({}, "memory"),
}


@pytest.mark.parametrize("tool", WRONG)
async def test_what_goes_wrong_in_a_tool_is_told_in_plain_words_and_the_next_call_works(
    tooled: Cluster, ollama: FakeOllama, chat_id: str, tool: str
) -> None:
    given, words = WRONG[tool]
    async with tooled.client() as client:
        status, output = await use(client, ollama, chat_id, tool, **given)
        assert status == "failed"
        assert words in output
        assert "canary" not in output
        assert (await use(client, ollama, f"{chat_id}-2", "greet", name="Bo"))[1] == "Hello Bo (1)"


async def test_what_a_tool_prints_is_in_the_log_and_no_line_of_it_looks_like_ours(
    tooled: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    log = tooled.backends[1].log
    async with tooled.client() as client:
        await use(client, ollama, chat_id, "fail")
        await eventually(lambda: "canary-of-the-tool" in log.read_text())
        _, output = await use(client, ollama, f"{chat_id}-2", "flood")
        assert output.startswith("yyy")
        told_model = str(ollama.exchanges[-1].body["messages"][-1]["content"])
        assert 20_000 <= len(told_model) < 20_200
        await eventually(lambda: "printed: xxx" in log.read_text())
    lines = log.read_text().splitlines()
    assert not [line for line in lines if line.startswith("2026-01-01")]
    assert not [line for line in lines if "\x1b" in line]
    assert max(len(line) for line in lines) < 1000


async def test_a_tool_is_given_no_secret_and_only_what_is_named(
    tooled: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    async with tooled.client() as client:
        given = (await use(client, ollama, chat_id, "environment"))[1]
        peeped = (await use(client, ollama, f"{chat_id}-2", "peep"))[1]
    assert "CITY=Vienna" in given
    assert "PATH=" in given
    assert "canary-aws" in environment_of(tooled.backends[1].pid)  # whoever is not shut in reads it
    for word in ("canary", "REDIS", "OLLAMA", "TOOLS_DIR"):
        assert word not in given + peeped


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


async def test_a_tool_reaches_no_network_in_any_way(
    tooled: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with tooled.client() as client:
            port = server.getsockname()[1]
            assert await use(client, ollama, chat_id, "reach", port=port) == (
                "done",
                "shut shut shut shut shut",
            )


async def test_each_file_that_is_wrong_is_one_line_and_the_others_work(tooled: Cluster) -> None:
    async with tooled.client() as client:
        files = await told(client, "tools")
        assert files["good.py"] == {"state": "ready", "reason": "", "tools": list(NAMES)}
        reasons = {name: one["reason"] for name, one in files.items() if name != "good.py"}
        assert reasons["broken.py"].startswith("line 1: SyntaxError: ")
        assert reasons["missing.py"] == "line 1: ModuleNotFoundError: No module named 'no_such_package'"
        assert reasons["ends.py"] == "its process ended"
        assert reasons["stops.py"] == "line 1: SystemExit: 3"
        assert reasons["clash.py"] == "calculate: there is a tool of this name already (one of ours)"
        assert reasons["twice.py"] == "greet: there is a tool of this name already (good.py)"
        assert reasons["latin.py"] == "is not UTF-8"
        assert await told(client, "mistakes") == ["wrong: tools: unknown tool 'weathre'"]
        assert await tools_of(client, "wrong") == ["greet"]


async def stop_inside(
    client: Client, ollama: FakeOllama, chat_id: str, mark: Path
) -> tuple[Stream, float, float]:
    """Stops a reply inside a tool that works for ever; how long the stop took, and how long its processes
    lived on after its answer, in milliseconds.
    """
    ollama.default = Reply(tool=ToolCall("wait", {"mark": str(mark)}))
    async with client.chat(chat_id, "use it", agent="user") as stream:
        await stream.until(lambda s: bool(s.of("tool")))
        worker = int(await eventually(lambda: mark.exists() and mark.read_text(), within=60))
        await eventually(lambda: len(marked(str(mark))) == 3)
        stopped = await client.stop(chat_id, wait=5000)
        began = monotonic()
        assert stopped["result"] == "stopped"
        await eventually(lambda: not alive(worker) and not marked(str(mark)), within=20, every=0.002)
        lived = (monotonic() - began) * 1000
        return await stream.rest(), stopped["stop_ms"], lived


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_stops_inside_a_tool_end_its_work_and_all_that_it_has_started(
    tooled: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    count = int(os.environ.get("SOAK_TOOL_STOPS", "8"))
    backend = tooled.backends[1].pid
    stops, lives = [], []
    async with tooled.client() as client:
        await use(client, ollama, f"{chat_id}-before", "greet", name="Cy")
        await eventually(lambda: at_rest(backend))
        open_before, tasks_before = descriptors(backend), threads(backend)
        for n in range(count):
            mark = tooled.where / f"mark-{n}"
            stream, stop_ms, lived = await stop_inside(client, ollama, f"{chat_id}-{n}", mark)
            stops.append(stop_ms)
            lives.append(lived)
            assert stream.outcome == "stopped"
            assert stream.of("tool")[-1]["status"] == "stopped"
        assert (await use(client, ollama, f"{chat_id}-after", "greet", name="Di"))[1] == "Hello Di (1)"
        await eventually(lambda: at_rest(backend))
        await eventually(lambda: descriptors(backend) <= open_before + MORE_CONNECTIONS)
        assert threads(backend) <= tasks_before + 2
    for what, times in (("stops took", stops), ("the work lived on for", lives)):
        print(f"{what} {median(times):.1f} ms at p50, {quantiles(times, n=100)[98]:.1f} ms at p99")


def at_rest(backend: int) -> bool:
    """Only the process that forks, and one that is ready for each file that is right."""
    return len(below(backend)) == 4  # good, clash, twice


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


@pytest.fixture(scope="module")
async def the_alone(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    """One backend that may be hurt, whose tools have the network and little time."""
    where = tmp_path_factory.mktemp("alone")
    fill(where / "tools")
    (where / "user.toml").write_text(agent(*NAMES))
    ours = {"AGENTS_DIR": str(where), "TOOLS_DIR": str(where / "tools"), "TOOLS_NETWORK": "true"}
    env = {**ollama_env(the_ollama), **ours, "TOOL_TIMEOUT_SECONDS": "6", "REDIS_PREFIX": "alone:"}
    async with Cluster(where, redis_url, env=env, backends=1) as cluster:
        yield cluster


@pytest.fixture
async def alone(the_alone: Cluster, ollama: FakeOllama) -> Cluster:
    await the_alone.heal()
    async with the_alone.client() as client:
        await eventually(lambda: has(client, "wait"), within=120)
    return the_alone


async def has(client: Client, tool: str) -> bool:
    return tool in await tools_of(client, "user")


async def test_a_tool_that_takes_too_long_is_ended(
    alone: Cluster, ollama: FakeOllama, chat_id: str, where: Path
) -> None:
    async with alone.client() as client, in_a_tool(client, ollama, chat_id, where / "mark") as stream:
        last = (await stream.rest()).of("tool")[-1]
        assert (last["status"], last["output"]) == ("failed", "Error: the tool took too long")
        await eventually(lambda: not marked(str(where)))


async def test_tools_that_may_have_the_network_do(alone: Cluster, ollama: FakeOllama, chat_id: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with alone.client() as client:
            reached = await use(client, ollama, chat_id, "reach", port=server.getsockname()[1])
            assert reached == ("done", SHUT.replace("shut", "open"))


async def test_the_process_that_forks_comes_back_after_its_death(
    alone: Cluster, ollama: FakeOllama, chat_id: str, where: Path
) -> None:
    async with alone.client() as client, in_a_tool(client, ollama, chat_id, where / "mark") as stream:
        os.kill(forker(alone), signal.SIGKILL)
        assert (await stream.rest()).of("tool")[-1]["status"] == "failed"
        await eventually(lambda: not marked(str(where)))
        await eventually(lambda: greets(client, ollama, chat_id), within=60)


async def greets(client: Client, ollama: FakeOllama, chat_id: str) -> bool:
    done = await use(client, ollama, f"{chat_id}-{monotonic()}", "greet", name="Ed")
    return done == ("done", "Hello Ed (1)")


async def test_nothing_outlives_a_backend_that_is_killed(
    alone: Cluster, ollama: FakeOllama, chat_id: str, where: Path
) -> None:
    async with alone.client() as client, in_a_tool(client, ollama, chat_id, where / "mark"):
        left = below(alone.backends[1].pid)
        assert forker(alone) in left
        await alone.kill(1)
        await eventually(lambda: not any(alive(pid) for pid in left) and not marked(str(where)), within=20)


async def test_a_backend_that_is_told_to_end_leaves_no_process(alone: Cluster) -> None:
    left = below(alone.backends[1].pid)
    assert forker(alone) in left
    alone.signal(1, signal.SIGTERM)
    assert await alone.backends[1].wait() == 0
    await eventually(lambda: not any(alive(pid) for pid in left))


@asynccontextmanager
async def in_a_tool(client: Client, ollama: FakeOllama, chat_id: str, mark: Path) -> AsyncIterator[Stream]:
    """A reply whose tool works for ever."""
    ollama.default = Reply(tool=ToolCall("wait", {"mark": str(mark)}), tokens=["over"])
    async with client.chat(chat_id, "use it", agent="user") as stream:
        await eventually(mark.exists, within=60)
        yield stream


def forker(cluster: Cluster) -> int:
    """The process that makes the others."""
    return next(pid for pid, words in below(cluster.backends[1].pid).items() if "own.server" in words)


async def test_without_a_folder_nothing_is_started(cluster: Cluster) -> None:
    assert [below(cluster.backends[n].pid) for n in cluster.numbers] == [{}, {}, {}]


def test_without_a_folder_nothing_of_it_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def doctor(tools: Path, **more: str) -> str:
    """The line of the doctor about these tools."""
    return str(own_tools(Settings.model_validate({"tools_dir": str(tools), **more})))


def test_the_doctor_tells_what_there_is_and_what_is_wrong(tmp_path: Path) -> None:
    tools = fill(tmp_path / "tools")
    assert re.match(r"ok    tools: greet, .*; without network", doctor(tools))
    (tools / "more.py").write_text("import no_such_package\n")
    (tmp_path / "mine.toml").write_text(agent("gret"))
    wrong = doctor(tools, agents_dir=str(tmp_path))
    assert "warn  tools: more.py: line 1: ModuleNotFoundError" in wrong
    assert "mine: tools: unknown tool 'gret'" in wrong
    assert "FAIL  tools: TOOLS_DIR: there is no folder" in doctor(tmp_path / "none")


ELSEWHERE = """
from app.doctor.tools import own_tools
from app.settings import Settings

print(own_tools(Settings()))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="another machine cannot be played here")
def test_where_the_kernel_cannot_shut_the_network_tools_do_not_start(tmp_path: Path) -> None:
    """A machine of a kind whose calls we do not know."""
    fill(tmp_path)
    env = {**clean_environment(), "TOOLS_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = ["setarch", "i686", sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    why = "good.py: tools cannot be kept from the network here (no seccomp): TOOLS_NETWORK=true"
    assert why in done.stdout


async def test_many_calls_at_once_wait_for_each_other(
    tooled: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    async with tooled.client() as client:
        ollama.default = Reply(tool=ToolCall("later", {"text": "soon"}), tokens=["over"])
        streams = await asyncio.gather(
            *(client.ask(f"{chat_id}-{n}", "use it", agent="user") for n in range(30))
        )
        assert {stream.of("tool")[-1]["status"] for stream in streams} == {"done"}
        await eventually(lambda: at_rest(tooled.backends[1].pid))
