"""Tools that wait for a person: asked on one backend, answered through any, decided once."""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from app.agents.catalog import Catalog
from app.runs.patience import Patience
from app.settings import Settings
from tests.conftest import ollama_env
from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.processes import ROOT
from tests.world.redis_server import command, connect
from tests.world.waiting import eventually

ANN, BOB = "key-of-ann", "key-of-bob"
CAREFUL = 'description = "asks"\nprompt = "Ask."\ntools = ["calculate", "slow"]\napprove = ["calculate"]\n'
SUM = Reply(tool=ToolCall("calculate", {"expression": "6*7"}), tokens=["it is so"])
PATIENT, HASTY, LONELY = 1, 2, 3  # backends


@pytest.fixture(scope="module")
async def the_careful(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    """Three backends; the second one's questions lapse soon, the third one ends what nobody reads."""
    where = tmp_path_factory.mktemp("careful")
    (where / "careful.toml").write_text(CAREFUL)
    (where / "served.toml").write_text('description = "uses"\nprompt = "Use."\nmcp = ["fake"]\n')
    fake = ROOT / "tests" / "world" / "fakes" / "mcp_server.py"
    server = {"command": sys.executable, "args": [str(fake), str(where / "mcp.log")], "approve": True}
    (where / "mcp.json").write_text(json.dumps({"mcpServers": {"fake": server}}))
    env = {
        **ollama_env(the_ollama),
        "AGENTS_DIR": str(where),
        "MCP_CONFIG": str(where / "mcp.json"),
        "API_KEYS": f"ann:{ANN},bob:{BOB}",
    }
    env_of = {HASTY: {"APPROVAL_TIMEOUT_SECONDS": "1"}, LONELY: {"DISCONNECT_GRACE_SECONDS": "0"}}
    async with Cluster(
        where, redis_url, env=env, env_of=env_of, module="tests.world.with_slow_tool"
    ) as cluster:
        yield cluster


@pytest.fixture
async def careful(the_careful: Cluster, ollama: FakeOllama) -> AsyncIterator[Cluster]:
    ollama.default = SUM
    yield the_careful
    await the_careful.heal()
    async with the_careful.client(key=ANN) as client:
        for run in (await client.get("/api/v1/runs"))["runs"]:
            await client.stop(run["chat_id"], wait=5000)


def ann(cluster: Cluster, n: int) -> Client:
    return cluster.client(n, key=ANN)


def statuses(stream: Stream) -> list[str]:
    return [tool["status"] for tool in stream.of("tool")]


async def asked(stream: Stream, count: int = 1) -> str:
    """Reads on until a person is asked; the id of the newest call."""
    await stream.until(lambda s: statuses(s).count("asked") >= count)
    return str(stream.of("tool")[-1]["tool_use_id"])


async def answer(client: Client, chat_id: str, call: str, approve: Any = True, **more: Any) -> httpx.Response:
    body = {"tool_use_id": call, "approve": approve, **more}
    return await client.http.post(f"/api/v1/chat/{chat_id}/approve", json=body)


def told(ollama: FakeOllama) -> str:
    """What the model was told last."""
    return str(ollama.exchanges[-1].body["messages"][-1]["content"])


async def test_asked_on_one_answered_through_another_read_on_a_third(careful: Cluster, chat_id: str) -> None:
    async with ann(careful, 1) as one, ann(careful, 2) as two, ann(careful, 3) as three:
        async with one.chat(chat_id, "go", agent="careful") as stream:
            call = await asked(stream)
            event = stream.of("tool")[-1]
            assert (event["name"], event["input"]) == ("calculate", {"expression": "6*7"})
        async with three.attach(chat_id) as refreshed:
            assert await asked(refreshed) == call
            (waiting,) = (await two.chat_info(chat_id))["run"]["asked"]
            assert {name: waiting[name] for name in ("tool_use_id", "name", "input")} == {
                "tool_use_id": call, "name": "calculate", "input": {"expression": "6*7"},
            }  # fmt: skip
            assert waiting["lapses_at"] > waiting["asked_at"]
            runs = (await three.get("/api/v1/runs"))["runs"]
            assert [run["asked"] for run in runs if run["chat_id"] == chat_id] == [1]
            first = await answer(two, chat_id, call)
            assert first.status_code == 200
            assert first.json() == {
                "chat_id": chat_id, "run_id": stream.run_id, "tool_use_id": call, "name": "calculate",
                "status": "allowed", "for": "once", "answered_by": "backend-2",
            }  # fmt: skip
            again = await answer(three, chat_id, call)
            assert again.json() == {**first.json(), "answered_by": "backend-3"}
            await refreshed.rest()
        assert statuses(refreshed) == ["asked", "running", "done"]
        assert refreshed.of("tool")[-1]["output"] == "42"
        assert refreshed.outcome == "done"
        (step, text) = (await two.messages(chat_id))[-1]["parts"]
        assert (step["status"], step["input"], step["output"]) == ("done", {"expression": "6*7"}, "42")
        assert text == {"type": "text", "text": "it is so"}
        assert (await answer(one, chat_id, call)).status_code == 200, "the same answer is the same later"
        assert (await answer(one, chat_id, call, False)).status_code == 409


async def test_refused_is_told_to_the_model_and_not_carried_out(
    careful: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    async with ann(careful, 1) as one, ann(careful, 3) as three:
        async with one.chat(chat_id, "go", agent="careful") as stream:
            call = await asked(stream)
            refused = await answer(three, chat_id, call, False)
            assert refused.json()["status"] == "refused"
            await stream.rest()
        assert statuses(stream) == ["asked", "failed"]
        assert stream.outcome == "done"
        assert "refused" in told(ollama)
        late = await answer(three, chat_id, call)
        assert (late.status_code, late.json()["code"]) == (409, "not_asked")
        (step, _) = (await one.messages(chat_id))[-1]["parts"]
        assert (step["status"], step["input"]) == ("failed", {"expression": "6*7"})


async def test_nobody_answers_so_it_lapses_as_refused(
    careful: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    async with ann(careful, HASTY) as two, two.chat(chat_id, "go", agent="careful") as stream:
        call = await asked(stream)
        await stream.rest()
        assert statuses(stream) == ["asked", "failed"]
        assert stream.outcome == "done"
        assert "in time" in told(ollama)
        late = await answer(two, chat_id, call)
        assert (late.status_code, late.json()["code"]) == (409, "not_asked")


async def test_a_stop_ends_a_run_that_waits(careful: Cluster, chat_id: str) -> None:
    async with ann(careful, 1) as one, ann(careful, 2) as two:
        async with one.chat(chat_id, "go", agent="careful") as stream:
            call = await asked(stream)
            assert (await two.stop(chat_id, wait=5000))["result"] == "stopped"
            await stream.rest()
        assert (statuses(stream), stream.outcome) == (["asked", "stopped"], "stopped")
        (step,) = (await two.messages(chat_id))[-1]["parts"]
        assert (step["status"], step["seconds"]) == ("stopped", None)
        late = await answer(two, chat_id, call)
        assert (late.status_code, late.json()["code"]) == (409, "not_asked")
        assert (await two.chat_info(chat_id))["run"] is None


async def test_a_killed_backend_is_settled_and_nothing_waits_any_more(careful: Cluster, chat_id: str) -> None:
    async with ann(careful, 2) as two:
        async with ann(careful, 1) as one, one.chat(chat_id, "go", agent="careful") as stream:
            call = await asked(stream)
            await careful.kill(1)
        async with two.attach(chat_id) as reader:
            await reader.rest()
        assert reader.backend_lost
        assert statuses(reader) == ["asked", "failed"]
        assert (await answer(two, chat_id, call)).status_code == 409
        assert (await two.messages(chat_id))[-1]["parts"][0]["status"] == "failed"


async def test_a_run_that_waits_needs_no_reader(careful: Cluster, chat_id: str) -> None:
    """Where a run without readers is stopped at the next look, every second."""
    async with ann(careful, LONELY) as three, ann(careful, 1) as one:
        async with three.chat(chat_id, "go", agent="careful") as stream:
            call = await asked(stream)
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 2.5, within=20)
        async with one.attach(chat_id) as reader:
            assert await asked(reader) == call
            assert (await answer(one, chat_id, call)).status_code == 200
            await reader.until(lambda s: "running" in statuses(s))


def test_no_clock_runs_while_a_person_thinks() -> None:
    clocks = ("run_timeout_seconds", "first_token_timeout_seconds", "token_timeout_seconds")
    patience = Patience(Settings.model_validate(dict.fromkeys(clocks, 10)))
    much_later = time.monotonic() + 1000
    for begun in (False, True):
        patience.await_model(begun=begun)
        assert patience.overdue(much_later)
        with patience.person():
            patience.await_model(begun=begun)
            with patience.person():
                assert patience.overdue(much_later) is None
            assert patience.asks_a_person
            assert patience.overdue(much_later) is None
        assert not patience.asks_a_person
        assert patience.overdue(time.monotonic() + 9) is None
        assert patience.overdue(much_later)


async def reply_of(client: Client, chat_id: str) -> dict[str, Any] | None:
    last = (await client.messages(chat_id))[-1]
    return last if last["role"] == "assistant" else None


async def test_an_answer_for_the_chat_holds_on_every_backend_until_it_is_taken_back(
    careful: Cluster, new_chat: Callable[[], str]
) -> None:
    chat_id = new_chat()
    async with ann(careful, 1) as one, ann(careful, 3) as three:
        async with one.chat(chat_id, "go", agent="careful") as stream:
            granted = await answer(three, chat_id, await asked(stream), **{"for": "chat"})
            assert granted.json()["for"] == "chat"
            await stream.rest()
        again = await three.ask(chat_id, "once more", agent="careful")
        assert statuses(again) == ["running", "done"]
        assert await lasting(one, chat_id) == [("calculate", "allowed")]
        another = await one.http.delete(f"/api/v1/chat/{chat_id}/approve?tool=slow")
        assert another.json()["tools"] == []  # it is about another one
        other = new_chat()
        async with three.chat(other, "go", agent="careful") as stream:
            await asked(stream)
            await three.stop(other, wait=5000)
        back = await one.http.delete(f"/api/v1/chat/{chat_id}/approve?tool=calculate")
        assert back.json() == {"chat_id": chat_id, "tools": ["calculate"]}
        assert await lasting(three, chat_id) == []
        async with three.chat(chat_id, "and again", agent="careful") as stream:
            refused = await answer(one, chat_id, await asked(stream), False, **{"for": "chat"})
            assert refused.status_code == 200
            await stream.rest()
        assert statuses(await one.ask(chat_id, "no", agent="careful")) == ["asked", "failed"]
        assert await lasting(one, chat_id) == [("calculate", "refused")]
        await one.http.delete(f"/api/v1/chat/{chat_id}")
        async with one.chat(chat_id, "a new one", agent="careful") as stream:
            await asked(stream)
            await one.stop(chat_id, wait=5000)


async def lasting(client: Client, chat_id: str) -> list[tuple[str, str]]:
    """What is answered for the whole chat."""
    told = await client.get(f"/api/v1/chat/{chat_id}/approve")
    assert told["chat_id"] == chat_id
    return [(tool["name"], tool["status"]) for tool in told["tools"]]


async def test_one_answer_for_the_chat_releases_all_calls_of_that_tool(
    careful: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    calls = [
        {"function": {"name": "calculate", "arguments": {"expression": text}}} for text in ("1+1", "2+2")
    ]
    ollama.script.append(two_calls(calls))
    ollama.default = Reply(tokens=["both"])
    async with ann(careful, 1) as one, ann(careful, 2) as two:
        async with one.chat(chat_id, "go", agent="careful") as stream:
            call = await asked(stream, count=2)
            assert len((await two.chat_info(chat_id))["run"]["asked"]) == 2
            await answer(two, chat_id, call, **{"for": "chat"})
            await stream.rest()
        assert Counter(statuses(stream)) == Counter(asked=2, running=2, done=2)
        assert sorted(tool["output"] for tool in stream.of("tool") if tool["status"] == "done") == ["2", "4"]


def two_calls(calls: list[dict[str, Any]]) -> Reply:
    line = {"model": "fake", "created_at": "2026-01-02T03:04:05Z", "done": True, "done_reason": "stop"}
    line |= {"message": {"role": "assistant", "content": "", "tool_calls": calls}}
    return Reply(raw=[json.dumps(line | {"prompt_eval_count": 1, "eval_count": 1}).encode() + b"\n"])


async def test_every_tool_of_a_marked_server_waits(
    careful: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    ollama.default = Reply(tool=ToolCall("fake_echo", {"text": "hello"}), tokens=["over"])
    async with ann(careful, 1) as one:
        await eventually(lambda: has_tool(one), within=30)
        async with one.chat(chat_id, "go", agent="served") as stream:
            await answer(one, chat_id, await asked(stream))
            await stream.rest()
        assert (statuses(stream), stream.of("tool")[-1]["output"]) == (["asked", "running", "done"], "hello")


async def has_tool(client: Client) -> bool:
    agents = (await client.get("/api/v1/agents"))["agents"]
    return any("fake_echo" in one["tools"] for one in agents)


@pytest.mark.parametrize("harm", ["lost", "replaced", "unheard"])
async def test_a_question_that_redis_lost_is_asked_again_and_a_bell_that_is_lost_costs_a_moment(
    careful: Cluster, chat_id: str, harm: str
) -> None:
    key = f"chat:{{ann:{chat_id}}}:approvals"
    async with ann(careful, 1) as one, ann(careful, 2) as two, connect(careful.redis_url) as redis:
        async with one.chat(chat_id, "go", agent="careful") as stream:
            call = await asked(stream)
            if harm == "unheard":
                await command(redis, "CLIENT", "KILL", "TYPE", "pubsub")
            else:
                await redis.delete(key)
                if harm == "replaced":
                    await redis.set(key, "something else")
                await eventually(lambda: waits(two, chat_id))
            assert (await answer(two, chat_id, call)).status_code == 200
            await stream.rest()
        assert statuses(stream) == ["asked", "running", "done"]
        assert 0 < await redis.ttl(key) <= 660


async def waits(client: Client, chat_id: str) -> bool:
    return "asked" in (await client.chat_info(chat_id))["run"]


async def test_others_cannot_answer_and_what_waits_for_nothing_is_not_found(
    careful: Cluster, chat_id: str
) -> None:
    async with ann(careful, 1) as one, careful.client(2, key=BOB) as bob:
        assert (await answer(one, chat_id, "call_1")).status_code == 404
        async with one.chat(chat_id, "go", agent="careful") as stream:
            call = await asked(stream)
            assert (await answer(bob, chat_id, call)).status_code == 404
            assert (await answer(one, chat_id, "another")).status_code == 404
            assert (await one.chat_info(chat_id))["run"]["asked"]
            assert (await answer(one, chat_id, call)).status_code == 200
            await stream.rest()


@pytest.mark.parametrize(
    "body",
    [
        {}, {"approve": True}, {"tool_use_id": "x"}, {"tool_use_id": "x", "approve": "yes"},
        {"tool_use_id": "x", "approve": 1}, {"tool_use_id": "a b", "approve": True},
        {"tool_use_id": "x" * 65, "approve": True}, {"tool_use_id": "x", "approve": True, "for": "ever"},
        {"tool_use_id": "x", "approve": True, "lasts": "chat"}, [], None,
    ],
)  # fmt: skip
async def test_what_is_malformed_is_refused(careful: Cluster, chat_id: str, body: Any) -> None:
    async with ann(careful, 1) as one:
        refused = await one.http.post(f"/api/v1/chat/{chat_id}/approve", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_people_do_each_call_is_decided_once(
    careful: Cluster, ollama: FakeOllama, new_chat: Callable[[], str], seed: int
) -> None:
    """Answers, stops and refreshes in any order, through any backend, several at once."""
    dice = random.Random(seed)
    await asyncio.gather(*(some_story(careful, new_chat(), random.Random(dice.random())) for _ in range(6)))


async def some_story(cluster: Cluster, chat_id: str, dice: random.Random) -> None:
    def anybody() -> Client:
        return ann(cluster, dice.choice((1, 3)) if dice.random() < 0.8 else 2)

    async with (
        ann(cluster, dice.choice((PATIENT, PATIENT, HASTY))) as asker,
        asker.chat(chat_id, "go", agent="careful") as stream,
    ):
        call = await asked(stream)
        if dice.random() < 0.5:
            await stream.response.aclose()
        answers = await asyncio.gather(
            *(act(anybody(), chat_id, call, dice) for _ in range(dice.randint(1, 4)))
        )
        async with anybody() as reader:
            if not any(answers):
                await answer(reader, chat_id, call)
            seen = await reader.replay(chat_id)
            kept = await eventually(lambda: reply_of(reader, chat_id))
            assert (await reader.chat_info(chat_id))["run"] is None
    decided = {one for one in answers if one in ("allowed", "refused")}
    assert len(decided) <= 1, answers
    last = statuses(seen)[-1]
    assert statuses(seen) in (["asked", "running", last], ["asked", last])
    assert last in ("done", "failed", "stopped")
    assert [part["status"] for part in kept["parts"] if part["type"] == "tool"] == [last]
    assert ("running" in statuses(seen)) <= ("refused" not in decided)
    assert (last == "done") <= (decided != {"refused"})


async def act(person: Client, chat_id: str, call: str, dice: random.Random) -> str:
    """One thing that a person does; what counted of it."""
    async with person:
        match dice.choice(("allow", "allow", "refuse", "stop", "refresh")):
            case "stop":
                await person.stop(chat_id, wait=5000)
                return "stop"
            case "refresh":
                async with person.attach(chat_id) as stream:
                    await asked(stream)
                return ""
            case choice:
                got = await answer(person, chat_id, call, choice == "allow")
                assert got.status_code in (200, 409)
                return str(got.json()["status"]) if got.status_code == 200 else "late"


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ('approve = ["calculator"]', "approve: 'calculator' is no tool, server or agent"),
        ('approve = "yes"', "approve"),
        ('approve = ["notes.read"]', "approve: 'notes.read' is no tool"),
        ('mcp = ["notes.read"]\napprove = ["notes.write"]', "approve: 'notes.write' is no tool"),
    ],
)
def test_a_mark_for_what_is_not_there_is_one_line(tmp_path: Any, written: str, complaint: str) -> None:
    (tmp_path / "x.toml").write_text(f'description = "x"\nprompt = "x"\ntools = ["calculate"]\n{written}\n')
    with pytest.raises(ValueError, match=r"x\.toml") as raised:
        Catalog(str(tmp_path))
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("written", ["true", '["calculate"]', '["notes"]', '["notes.read", "calculate"]'])
def test_tools_servers_and_single_tools_of_them_can_be_marked(tmp_path: Any, written: str) -> None:
    (tmp_path / "x.toml").write_text(
        f'description = "x"\nprompt = "x"\ntools = ["calculate"]\nmcp = ["notes"]\napprove = {written}\n'
    )
    assert Catalog(str(tmp_path)).get("x").approve
