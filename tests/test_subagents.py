"""Agents that work for another one: steps inside its call, words that are its result, one end for both."""

import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.agents.catalog import Catalog
from app.chat.approval import idle
from app.events import Event, Text, Tool, unfinished
from tests.conftest import ollama_env, openai_env
from tests.test_door_agui import body, read
from tests.world import sdks
from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.openai import FakeOpenAI
from tests.world.fakes.reply import FLOWING, HELD, Failure, Reply, ToolCall
from tests.world.waiting import eventually

AGENTS = {
    "boss": 'agents = ["sums", "careful"]\ntools = ["calculate"]',
    "sums": 'tools = ["calculate", "slow"]',
    "careful": 'tools = ["calculate"]\napprove = true',
    "wary": 'agents = ["sums"]\napprove = ["sums"]',
    "top": 'agents = ["boss"]',
}
OLLAMA, OPENAI = 1, 2  # backends
MOST_TURNS, MOST_HELP = 12, 36


@pytest.fixture(scope="module")
async def the_crew(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama, the_openai: FakeOpenAI
) -> AsyncIterator[Cluster]:
    """One place at the model for all; the second backend waits two seconds for a token."""
    where = tmp_path_factory.mktemp("crew")
    for name, keys in AGENTS.items():
        (where / f"{name}.toml").write_text(f'description = "{name}"\nprompt = "You are {name}."\n{keys}\n')
    env_of = {
        OLLAMA: ollama_env(the_ollama),
        OPENAI: {**openai_env(the_openai), "TOKEN_TIMEOUT_SECONDS": "2"},
    }
    env = {"AGENTS_DIR": str(where), "MODEL_PARALLEL": "1"}
    async with Cluster(
        where, redis_url, env=env, env_of=env_of, backends=2, module="tests.world.with_slow_tool"
    ) as cluster:
        yield cluster


@pytest.fixture
async def crew(the_crew: Cluster, ollama: FakeOllama, openai: FakeOpenAI) -> AsyncIterator[Cluster]:
    for fake in (ollama, openai):
        fake.default = Reply(tool=ToolCall("sums", {"task": "work it out"}), tokens=["all is well"])
        fake.on("work it out", Reply(tool=ToolCall("calculate", {"expression": "6*7"}), tokens=["it is 42"]))
    yield the_crew
    async with the_crew.client() as client:
        for run in (await client.get("/api/v1/runs"))["runs"]:
            await client.stop(run["chat_id"], wait=5000)


def steps(stream: Stream) -> list[tuple[str, str, bool]]:
    """Name and status of each tool event, and whether it is inside another call."""
    return [(tool["name"], tool["status"], "parent" in tool) for tool in stream.of("tool")]


WHOLE = [
    ("sums", "running", False), ("calculate", "running", True),
    ("calculate", "done", True), ("sums", "done", False),
]  # fmt: skip


@pytest.mark.parametrize("backend", [OLLAMA, OPENAI])
async def test_its_steps_are_inside_the_call_and_its_words_are_the_result(
    crew: Cluster, ollama: FakeOllama, openai: FakeOpenAI, chat_id: str, backend: int
) -> None:
    fake = ollama if backend == OLLAMA else openai
    async with crew.client(backend) as client:
        stream = await client.ask(chat_id, "go", agent="boss")
        assert (steps(stream), stream.outcome, stream.text) == (WHOLE, "done", "all is well")
        calls = {tool["name"]: tool for tool in stream.of("tool")}
        assert calls["calculate"]["parent"] == calls["sums"]["tool_use_id"]
        assert calls["calculate"]["tool_use_id"] != calls["sums"]["tool_use_id"]
        assert calls["sums"]["output"] == "it is 42"
        assert len(fake.exchanges) == 4
        assert stream.end["usage"]["input_tokens"] == 4 * 11
        assert stream.end["usage"]["exact"]
        *parts, _ = (await client.messages(chat_id))[-1]["parts"]
        assert [(part["name"], part["status"], part.get("parent")) for part in parts] == [
            ("sums", "done", None), ("calculate", "done", calls["sums"]["tool_use_id"]),
        ]  # fmt: skip
        await client.ask(chat_id, "and now", agent="boss")
        seen = json.dumps(fake.of("and now")[0].body["messages"])
        assert "it is 42" in seen
        assert '"name": "calculate"' not in seen, "what another agent did is not its own to repeat"


async def test_it_sees_its_task_and_its_own_prompt_alone(
    crew: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    async with crew.client(OLLAMA) as client:
        await client.ask(chat_id, "a private word", agent="boss")
    first = ollama.of("work it out")[0].body
    assert [message["content"] for message in first["messages"]] == ["You are sums.", "work it out"]
    assert [tool["function"]["name"] for tool in first["tools"]] == ["calculate", "slow"]
    offered = [tool["function"]["name"] for tool in ollama.of("a private word")[0].body["tools"]]
    assert sorted(offered) == ["calculate", "careful", "sums"]


async def test_agents_below_agents(crew: Cluster, ollama: FakeOllama, chat_id: str) -> None:
    ollama.on("begin", Reply(tool=ToolCall("boss", {"task": "lead"}), tokens=["so be it"]))
    ollama.on("lead", Reply(tool=ToolCall("sums", {"task": "work it out"}), tokens=["they say 42"]))
    async with crew.client(OLLAMA) as client:
        stream = await client.ask(chat_id, "begin", agent="top")
    assert (stream.text, stream.outcome) == ("so be it", "done")
    above = {tool["name"]: tool.get("parent") for tool in stream.of("tool")}
    ids = {tool["name"]: tool["tool_use_id"] for tool in stream.of("tool")}
    assert above == {"boss": None, "sums": ids["boss"], "calculate": ids["sums"]}
    assert stream.of("tool")[-1]["output"] == "they say 42"
    assert stream.end["usage"]["input_tokens"] == 6 * 11


@pytest.mark.parametrize("reply", [HELD, FLOWING, Reply(first_delay=1000), Reply(headers_delay=1000)])
async def test_a_stop_ends_it_with_the_other_at_once(
    crew: Cluster, ollama: FakeOllama, chat_id: str, reply: Reply
) -> None:
    ollama.on("work it out", reply)
    async with crew.client(OLLAMA) as client, crew.client(OPENAI) as other:
        async with client.chat(chat_id, "go", agent="boss") as stream:
            await stream.until(lambda s: bool(s.of("tool")))
            (exchange,) = await eventually(lambda: ollama.of("work it out"))
            assert (await other.stop(chat_id, wait=5000))["result"] == "stopped"
            await stream.rest()
        assert (stream.outcome, steps(stream)[-1]) == ("stopped", ("sums", "stopped", False))
        await eventually(lambda: exchange.left_at)
        assert ollama.open_streams == 0


async def test_a_stop_inside_a_tool_of_a_tool(crew: Cluster, ollama: FakeOllama, chat_id: str) -> None:
    ollama.on("work it out", Reply(tool=ToolCall("slow", {"seconds": 1000}), tokens=["never"]))
    over = crew.backends[OLLAMA].output.count("slow tool | over")
    async with crew.client(OLLAMA) as client:
        async with client.chat(chat_id, "go", agent="boss") as stream:
            await stream.until(lambda s: len(s.of("tool")) == 2)
            assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
            await stream.rest()
        assert {(name, status) for name, status, _ in steps(stream)[2:]} == {
            ("sums", "stopped"), ("slow", "stopped"),
        }  # fmt: skip
        assert next(tool for tool in stream.of("tool")[2:] if tool["name"] == "slow")["parent"]
        await eventually(lambda: crew.backends[OLLAMA].output.count("slow tool | over") > over)
        assert (await client.get("/api/v1/runs"))["count"] == 0


async def test_stops_at_any_moment_leave_nothing(
    crew: Cluster, ollama: FakeOllama, new_chat: Callable[[], str]
) -> None:
    dice = random.Random(18)
    ollama.default = Reply(
        tool=ToolCall("sums", {"task": "work it out"}), tokens=40, pace=0.002, first_delay=0.01
    )
    ollama.on(
        "work it out",
        Reply(tool=ToolCall("slow", {"seconds": 0.02}), tokens=40, pace=0.002, first_delay=0.01),
    )
    async with crew.client(OLLAMA) as client:
        for _ in range(25):
            chat_id, wanted = new_chat(), dice.randint(1, 60)
            async with client.chat(chat_id, "go", agent="boss") as stream:
                await stream.until(lambda s, n=wanted: len(s.frames) >= n or s.outcome is not None)  # type: ignore[misc]
                stopped = await client.stop(chat_id, wait=5000)
                assert stopped["result"] in ("stopped", "already_finished")
                await stream.rest()
            begun = [tool["tool_use_id"] for tool in stream.of("tool") if tool["status"] == "running"]
            ended = [tool["tool_use_id"] for tool in stream.of("tool") if tool["status"] != "running"]
            assert sorted(begun) == sorted(ended)
        await eventually(lambda: ollama.open_streams == 0)
        assert (await client.get("/api/v1/runs"))["count"] == 0


@pytest.mark.parametrize(
    "reply",
    [
        Reply(refuse=True, failure=Failure(500)),
        Reply(fault="drop", fault_after=2),
        Reply(fault="truncate", fault_after=2),
        Reply(fault="malformed", fault_after=2),
        Reply(tokens=0),
        HELD,
    ],
)
async def test_its_failure_is_the_tools_failure(
    crew: Cluster, openai: FakeOpenAI, chat_id: str, reply: Reply
) -> None:
    """A held one is given up after the two seconds that its backend waits for a token."""
    openai.on("work it out", reply)
    async with crew.client(OPENAI) as client:
        stream = await client.ask(chat_id, "go", agent="boss")
    assert steps(stream)[-1] == ("sums", "failed", False)
    assert (stream.outcome, stream.text) == ("done", "all is well")
    assert "secret" not in stream.of("tool")[-1]["output"]
    assert stream.of("tool")[-1]["output"][0].isupper()


@pytest.mark.parametrize("given", [{}, {"task": " "}, {"task": 7}, {"job": "x"}])
async def test_without_a_task_it_is_not_begun(
    crew: Cluster, ollama: FakeOllama, chat_id: str, given: dict[str, Any]
) -> None:
    ollama.default = Reply(tool=ToolCall("sums", given), tokens=["all is well"])
    async with crew.client(OLLAMA) as client:
        stream = await client.ask(chat_id, "go", agent="boss")
    assert (steps(stream)[-1], stream.outcome) == (("sums", "failed", False), "done")
    assert len(ollama.exchanges) == 2


def calls_for_ever(*calls: tuple[str, dict[str, Any]]) -> Reply:
    """A message of Ollama's with these calls, whatever was answered before."""
    made = [{"function": {"name": name, "arguments": given}} for name, given in calls]
    line = {"model": "fake", "created_at": "2026-01-02T03:04:05Z", "done": True, "done_reason": "stop"}
    line |= {"message": {"role": "assistant", "content": "", "tool_calls": made}}
    return Reply(raw=[json.dumps(line | {"prompt_eval_count": 1, "eval_count": 1}).encode() + b"\n"])


@pytest.mark.parametrize(("helpers", "most"), [(1, MOST_TURNS), (4, MOST_HELP)])
async def test_one_budget_of_model_calls_covers_them_all(
    crew: Cluster, ollama: FakeOllama, chat_id: str, helpers: int, most: int
) -> None:
    ollama.on("work it out", calls_for_ever(("calculate", {"expression": "1+1"})))
    ollama.script.append(calls_for_ever(*[("sums", {"task": "work it out"})] * helpers))
    ollama.default = Reply(tokens=["all is well"])
    async with crew.client(OLLAMA) as client:
        stream = await client.ask(chat_id, "go", agent="boss")
    assert [status for name, status, _ in steps(stream) if name == "sums"][helpers:] == ["failed"] * helpers
    assert (stream.outcome, stream.text) == ("done", "all is well")
    assert len(ollama.of("work it out")) == most


async def test_what_helpers_say_counts_for_the_length_of_the_reply(
    crew: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    ollama.on("work it out", Reply(tokens=["x" * 10_000] * 150))
    async with crew.client(OLLAMA) as client:
        stream = await client.ask(chat_id, "go", agent="boss")
    assert stream.outcome == "failed"
    assert "too long" in stream.end["error"]["message"]
    assert steps(stream)[-1] == ("sums", "failed", False)


async def test_several_at_once_do_not_mix(crew: Cluster, ollama: FakeOllama, chat_id: str) -> None:
    for n in range(4):
        expression = {"expression": f"{n}+100"}
        ollama.on(
            f"task {n}", Reply(tool=ToolCall("calculate", expression), tokens=[f"{n} is done"], pace=0.01)
        )
    ollama.script.append(calls_for_ever(*[("sums", {"task": f"task {n}"}) for n in range(4)]))
    ollama.default = Reply(tokens=["all four"])
    async with crew.client(OLLAMA) as client:
        stream = await client.ask(chat_id, "go", agent="boss")
    tools = stream.of("tool")
    began = {t["tool_use_id"]: t for t in tools if t["status"] == "running"}
    assert len(began) == 8
    for ended in (t for t in tools if t["status"] != "running"):
        given = began[ended["tool_use_id"]]["input"]
        if ended["name"] == "sums":
            assert ended["output"] == f"{given['task'][-1]} is done"
        else:
            above = began[ended["parent"]]["input"]["task"]
            assert given["expression"] == f"{above[-1]}+100"


async def test_a_person_is_asked_about_its_tools_and_about_it(
    crew: Cluster, ollama: FakeOllama, new_chat: Callable[[], str]
) -> None:
    async with crew.client(OLLAMA) as client, crew.client(OPENAI) as other:
        ollama.default = Reply(tool=ToolCall("careful", {"task": "work it out"}), tokens=["all is well"])
        stream = await allowed(client, other, new_chat(), "boss")
        assert steps(stream) == [
            ("careful", "running", False), ("calculate", "asked", True),
            *((name.replace("sums", "careful"), status, inside) for name, status, inside in WHOLE[1:]),
        ]  # fmt: skip
        ollama.default = Reply(tool=ToolCall("sums", {"task": "work it out"}), tokens=["all is well"])
        stream = await allowed(client, other, new_chat(), "wary")
        assert steps(stream) == [("sums", "asked", False), *WHOLE]


async def allowed(client: Client, other: Client, chat_id: str, agent: str) -> Stream:
    async with client.chat(chat_id, "go", agent=agent) as stream:
        await stream.until(lambda s: bool(s.of("tool")) and s.of("tool")[-1]["status"] == "asked")
        call = stream.of("tool")[-1]
        (waiting,) = (await other.chat_info(chat_id))["run"]["asked"]
        assert waiting.get("parent") == call.get("parent")
        body = {"tool_use_id": call["tool_use_id"], "approve": True}
        assert (await other.http.post(f"/api/v1/chat/{chat_id}/approve", json=body)).status_code == 200
        return await stream.rest()


async def test_while_a_person_thinks_others_have_the_place_at_the_model(
    crew: Cluster, ollama: FakeOllama, new_chat: Callable[[], str]
) -> None:
    asking, quick, long = new_chat(), new_chat(), new_chat()
    ollama.on("quickly", Reply(tokens=["done"]))
    ollama.on("at length", HELD)
    async with crew.client(OLLAMA) as client, crew.client(OPENAI) as other:
        ollama.default = Reply(tool=ToolCall("calculate", {"expression": "1+1"}), tokens=["two"])
        async with client.chat(asking, "go", agent="careful") as stream:
            await stream.until(lambda s: bool(s.of("tool")))
            assert (await client.ask(quick, "quickly")).text == "done"
            async with client.chat(long, "at length") as held:
                await held.until_text("word2")
                call = stream.of("tool")[-1]["tool_use_id"]
                body = {"tool_use_id": call, "approve": True}
                told = await other.http.post(f"/api/v1/chat/{asking}/approve", json=body)
                assert told.status_code == 200
                await stream.until(lambda s: bool(s.of("queue")))
                assert [tool["status"] for tool in stream.of("tool")] == ["asked"]
                await other.stop(long, wait=5000)
            await stream.rest()
        assert (stream.outcome, stream.text) == ("done", "two")
        assert [tool["status"] for tool in stream.of("tool")] == ["asked", "running", "done"]


def test_a_run_is_idle_where_all_that_is_open_waits_for_a_person() -> None:
    above, asks = Tool("1", "boss", "running"), Tool("2", "sums", "asked", parent="1")
    works = Tool("3", "calculate", "running", parent="1")
    assert not idle([above])
    assert idle([above, asks])
    assert not idle([above, asks, works])
    assert idle([above, asks, works, Tool("3", "calculate", "done", parent="1")])
    assert not idle([above, asks, Tool("2", "sums", "running", parent="1")])


async def test_they_are_listed_among_the_tools(crew: Cluster) -> None:
    async with crew.client(OLLAMA) as client:
        agents = {one["name"]: one["tools"] for one in (await client.get("/api/v1/agents"))["agents"]}
    assert agents["boss"] == ["calculate", "sums", "careful"]
    assert agents["top"] == ["boss"]


def files(where: Path, written: dict[str, str]) -> str:
    for name, keys in written.items():
        (where / f"{name}.toml").write_text(f'description = "x"\nprompt = "x"\n{keys}\n')
    return str(where)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"a": 'agents = ["nobody"]'}, "a: agents: there is no agent 'nobody'"),
        ({"a": 'agents = ["a"]'}, "a: agents: in a circle: a > a"),
        ({"a": 'agents = ["b"]', "b": 'agents = ["c"]', "c": 'agents = ["a"]'}, "in a circle: a > b > c > a"),
        ({f"a{n}": f'agents = ["a{n + 1}"]' for n in range(4)} | {"a4": ""}, "a0: agents: deeper than 3"),
        ({"a": 'agents = ["poet", 7]'}, "agents.1"),
        (
            {"days-between": "", "a": 'tools = ["days_between"]\nagents = ["days-between"]'},
            "the name of a tool",
        ),
    ],
)
def test_who_cannot_work_for_whom_is_one_line(
    tmp_path: Path, written: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ValueError, match="agents") as raised:
        Catalog(files(tmp_path, written))
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


BEFORE = {"a": 'agents = ["b"]', "b": 'agents = ["c"]', "c": "", "d": "", "other": 'tools = ["calculate"]'}
MISFITS: dict[str, tuple[dict[str, str | None], set[str]]] = {
    "a circle": ({"c": 'agents = ["a"]'}, {"c"}),
    "a circle of two that changed": ({"c": 'agents = ["d"]', "d": 'agents = ["c"]'}, {"c", "d"}),
    "nobody": ({"b": 'agents = ["nobody"]'}, {"b"}),
    "a new one in a circle": ({"e": 'agents = ["e"]'}, {"e"}),
    "one who names a new one in a circle": ({"d": 'agents = ["e"]', "e": 'agents = ["e"]'}, {"d", "e"}),
    "too deep": ({"c": 'agents = ["d"]', "d": 'agents = ["other"]'}, {"c", "d"}),
    "one that is gone": ({"c": None}, {"c"}),
}


@pytest.mark.parametrize("what", MISFITS)
def test_only_agents_that_do_not_fit_together_stay_as_they_were(tmp_path: Path, what: str) -> None:
    before = Catalog(files(tmp_path, BEFORE))
    changes, wrong = MISFITS[what]
    files(tmp_path, {"fresh": "", **{name: keys for name, keys in changes.items() if keys is not None}})
    for name in (name for name, keys in changes.items() if keys is None):
        (tmp_path / f"{name}.toml").unlink()
    if "other" not in wrong:
        files(tmp_path, {"other": 'tools = ["current_time"]'})
    after = Catalog(str(tmp_path), before=before)
    assert after.mistakes
    assert all("agents" in mistake for mistake in after.mistakes)
    assert after.get("fresh")
    assert after.get("other").tools == ["current_time"]
    old, new = ({one.name: one for one in catalog} for catalog in (before, after))
    assert {name: old.get(name) for name in wrong} == {name: new.get(name) for name in wrong}
    files(tmp_path, {**BEFORE, "e": ""})
    assert not Catalog(str(tmp_path), before=after).mistakes


def test_two_may_work_for_the_same_one(tmp_path: Path) -> None:
    written = {"a": 'agents = ["b", "c", "c"]', "b": 'agents = ["c"]', "c": ""}
    assert Catalog(files(tmp_path, written)).get("a").agents == ["b", "c"]


def test_no_call_is_left_open_where_the_events_end() -> None:
    events: list[Event] = [
        Tool("1", "boss", "running", {}), Tool("2", "sums", "asked", {}, parent="1"), Text("x"),
        Tool("3", "done", "running", {}), Tool("3", "done", "done"),
    ]  # fmt: skip
    assert unfinished(events, "stopped") == [
        Tool("1", "boss", "stopped"), Tool("2", "sums", "stopped", parent="1"),
    ]  # fmt: skip
    assert not unfinished([*events, *unfinished(events, "failed")], "failed")


def told_at_ag_ui(content: bytes) -> list[tuple[str, str]]:
    """Kind of each event about calls and subagents, and whose it is."""
    events = [frame.json for frame in read(content)]
    about = ("SUBAGENT_", "TOOL_CALL_START", "TOOL_CALL_RESULT", "RUN_FINISHED")
    return [(one["type"], one.get("subagentRunId", "")) for one in events if one["type"].startswith(about)]


async def test_ag_ui_is_told_of_a_subagent(crew: Cluster, ollama: FakeOllama, chat_id: str) -> None:
    async with crew.client(OLLAMA) as client:
        answer = await client.http.post("/api/v1/ag-ui/boss", json=body(chat_id, "go"))
        (outer,) = {
            frame.json["toolCallId"] for frame in read(answer.content)[:4] if "toolCallId" in frame.json
        }
        assert told_at_ag_ui(answer.content) == [
            ("TOOL_CALL_START", ""), ("SUBAGENT_STARTED", outer), ("TOOL_CALL_START", outer),
            ("TOOL_CALL_RESULT", outer), ("SUBAGENT_FINISHED", outer), ("TOOL_CALL_RESULT", ""),
            ("RUN_FINISHED", ""),
        ]  # fmt: skip
        begun = next(f.json for f in read(answer.content) if f.json["type"] == "SUBAGENT_STARTED")
        assert (begun["name"], begun["parentToolCallId"]) == ("sums", outer)
        ollama.on("work it out", Reply(tool=ToolCall("slow", {"seconds": 600})))
        raw = b""
        asked = body(f"{chat_id}-2", "go")
        async with client.http.stream("POST", "/api/v1/ag-ui/boss", json=asked) as response:
            async for piece in response.aiter_raw():
                if b'"slow"' in piece and b'"slow"' not in raw:
                    assert (await client.stop(f"{chat_id}-2"))["status"] == "accepted"
                raw += piece
        assert [kind for kind, _ in told_at_ag_ui(raw)] == [
            "TOOL_CALL_START", "SUBAGENT_STARTED", "TOOL_CALL_START",
            "SUBAGENT_ERROR", "TOOL_CALL_RESULT", "TOOL_CALL_RESULT", "RUN_FINISHED",
        ]  # fmt: skip


async def test_the_client_of_ag_ui_takes_a_subagent(crew: Cluster, chat_id: str) -> None:
    seen = await sdks.told(sdks.node(), "agent.mjs", crew.url_of(OLLAMA), "boss", "go", within=100)
    assert (seen["wrong"], seen["said"]) == (None, "all is well")
    assert {"SUBAGENT_STARTED", "SUBAGENT_FINISHED"} <= set(seen["kinds"])
