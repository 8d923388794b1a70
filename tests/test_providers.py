"""Each provider on the wire: its replies, its tools, and that a stop reaches it in every phase."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, Reply, ToolCall
from tests.world.invariants import Witness, assert_invariants
from tests.world.sides import NUMBER, Side
from tests.world.waiting import eventually


async def test_a_reply_with_its_exact_usage(side: Side, chat_id: str) -> None:
    async with side.client() as client:
        stream = await client.ask(chat_id, "hello")
    assert (stream.text, stream.outcome) == (Reply().text, "done")
    assert stream.of("start")[0]["provider"] == side.name
    assert stream.end["usage"] == {"input_tokens": 11, "output_tokens": 5, "exact": True}


async def test_text_arrives_however_the_network_cuts_it(side: Side, chat_id: str) -> None:
    side.fake.default = Reply(tokens=["Grü", "ß", "👩‍👩‍👧", "\n", " Gott"], torn=True, lump=2)
    async with side.client() as client:
        assert (await client.ask(chat_id, "hello")).text == side.fake.default.text


async def test_text_comes_while_the_model_still_talks(side: Side, chat_id: str) -> None:
    side.fake.default = HELD
    async with side.client() as client, client.chat(chat_id, "hello") as stream:
        await stream.until_text("word2 ")
        assert side.fake.open_streams == 1
        await client.stop(chat_id, wait=5000)
        await stream.rest()


async def test_a_reply_cut_at_its_token_limit_is_done_and_says_why(side: Side, chat_id: str) -> None:
    side.fake.default = Reply(
        stop_reason={"ollama": "length", "bedrock": "max_tokens", "openai": "length"}[side.name]
    )
    async with side.client() as client:
        stream = await client.ask(chat_id, "hello")
    assert (stream.outcome, stream.end["stop_reason"], stream.text) == ("done", "max_tokens", Reply().text)


async def test_thoughts_are_not_part_of_the_reply(side: Side, chat_id: str) -> None:
    side.fake.default = Reply(tokens=["4"], thinking=["two and ", "two"])
    async with side.client() as client:
        stream = await client.ask(chat_id, "hello")
        assert stream.text == "4"
        assert "".join(event["text"] for event in stream.of("reasoning")) == "two and two"
        assert (await client.messages(chat_id))[-1]["content"] == "4"


PHASES: dict[str, Reply] = {
    "before the headers": Reply(headers_delay=100),
    "before the first token": Reply(first_delay=100),
    "between tokens": FLOWING,
    "stalled": HELD,
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_stop_closes_the_connection_to_the_model_in_every_phase(
    side: Side, chat_id: str, phase: str
) -> None:
    side.fake.default = PHASES[phase]
    witness = Witness(chat_id)
    async with (
        side.client() as client,
        side.cluster.client(3) as other,
        client.chat(chat_id, "hello") as stream,
    ):
        witness.saw(stream, "hello")
        await eventually(lambda: side.fake.of("hello"))
        if phase in {"between tokens", "stalled"}:
            await stream.until_text("word2 ")
        answer = await other.stop(chat_id, wait=5000)
        told = time.monotonic()
        assert (answer["result"], answer["backend"]) == ("stopped", f"backend-{NUMBER[side.name]}")
        assert (await stream.rest()).outcome == "stopped"
    await eventually(lambda: side.fake.open_streams == 0)
    (exchange,) = side.fake.of("hello")
    assert exchange.left_at
    assert exchange.left_at - told < 2
    assert exchange.tokens_sent < 5000
    await assert_invariants(side.cluster, [witness], models=[side.fake])


async def test_a_stop_ends_a_tool(side: Side, chat_id: str) -> None:
    side.fake.default = Reply(tool=ToolCall("slow", {"seconds": 100}))
    log = side.cluster.backends[NUMBER[side.name]]
    async with side.client() as client, side.cluster.client(3) as other:
        async with client.chat(chat_id, "wait", agent="sleeper") as stream:
            await stream.until(lambda s: [event["status"] for event in s.of("tool")] == ["running"])
            await eventually(
                lambda: log.output.count("slow tool | began") == log.output.count("slow tool | over") + 1
            )
            assert (await other.stop(chat_id, wait=5000))["result"] == "stopped"
            assert (await stream.rest()).outcome == "stopped"
        await eventually(
            lambda: log.output.count("slow tool | began") == log.output.count("slow tool | over")
        )
        assert len(side.fake.of("wait")) == 1
        side.fake.default = Reply()
        assert (await client.ask(chat_id, "next")).outcome == "done"
    await assert_invariants(side.cluster, models=[side.fake])


async def test_a_tool_is_used_and_its_result_goes_to_the_model(side: Side, chat_id: str) -> None:
    side.fake.default = Reply(
        tokens=["It is 42."], tool=ToolCall("calculate", {"expression": "6 * 7"}), thinking=["hm"]
    )
    async with side.client() as client:
        stream = await client.ask(chat_id, "six times seven", agent="sleeper")
        assert [(event["name"], event["status"]) for event in stream.of("tool")] == [
            ("calculate", "running"), ("calculate", "done"),
        ]  # fmt: skip
        assert stream.of("tool")[0]["input"] == {"expression": "6 * 7"}
        assert stream.of("tool")[1]["output"] == "42"
        assert (stream.text, stream.outcome) == ("It is 42.", "done")
        assert stream.end["usage"] == {"input_tokens": 22, "output_tokens": 2, "exact": True}
    first, second = side.fake.of("six times seven")
    assert "42" not in str(first.body["messages"])
    assert "42" in str(second.body["messages"][-1])


async def test_a_tool_the_model_made_up_is_no_reason_to_fail(side: Side, chat_id: str) -> None:
    side.fake.default = Reply(tokens=["sorry"], tool=ToolCall("launch_rockets", {"at": "once"}))
    async with side.client() as client:
        stream = await client.ask(chat_id, "hello")
    assert (stream.text, stream.outcome) == ("sorry", "done")
    assert [event["status"] for event in stream.of("tool")][-1] == "failed"


async def test_a_model_without_tools_is_asked_without_them(
    mixed: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    agents = {}
    async with mixed.client(1) as client:
        agents = {a["name"]: a for a in (await client.get("/api/v1/agents"))["agents"]}
        with_tools = next(name for name, agent in agents.items() if agent["tools"])
        stream = await client.ask(chat_id, "hello", agent=with_tools)
        assert stream.outcome == "done"
        assert ollama.of("hello")[0].body["tools"]


async def test_the_demo_says_what_it_is_and_shows_what_can_be_done(
    mixed: Cluster, new_chat: Callable[[], str]
) -> None:
    async with mixed.client(3) as client:
        plain = await client.ask(new_chat(), "hello")
        assert "demo" in plain.text.lower()
        assert "PROVIDER" in plain.text
        assert "```" in plain.text
        sums = await client.ask(new_chat(), "What is 6 * 7?")
        assert [event["status"] for event in sums.of("tool")] == ["running", "done"]
        assert "42" in sums.text
        asked = await client.ask(new_chat(), "What time is it?")
        assert [event["status"] for event in asked.of("tool")] == ["running", "done"]
        shown = await client.ask(new_chat(), "Show me a short Python example")
    code, said = re.findall(r"```python\n(.*?)# (.*?)\n```", shown.text, re.DOTALL)[0]
    run = [sys.executable, "-c", code]
    done = await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said  # it does what it says


async def test_a_long_story_of_the_demo_can_be_stopped(mixed: Cluster, chat_id: str) -> None:
    async with mixed.client(3) as client, mixed.client(1) as other:
        async with client.chat(chat_id, "Tell me a long story") as stream:
            await stream.until(lambda s: len(s.of("text")) > 20)
            assert (await other.stop(chat_id, wait=5000))["result"] == "stopped"
            assert (await stream.rest()).outcome == "stopped"
        assert (await other.messages(chat_id))[-1]["content"] == stream.text


@pytest.mark.soak
async def test_many_streams_in_one_process_move_together(side: Side, new_chat: Callable[[], str]) -> None:
    side.fake.default = Reply(tokens=10_000, pace=0.2)
    count = int(os.environ.get("SOAK_STREAMS", "40"))
    first: list[float] = []
    async with side.client() as client, side.cluster.client(3) as other:

        async def talk(chat_id: str) -> str | None:
            async with client.chat(chat_id, "hello") as stream:
                await stream.until_text("word0 ")
                first.append(time.monotonic())
                return (await stream.rest()).outcome

        ids = [new_chat() for _ in range(count)]
        async with asyncio.TaskGroup() as group:
            talking = [group.create_task(talk(chat_id)) for chat_id in ids]
            await eventually(lambda: len(first) == count, within=60)
            assert side.fake.open_streams == count
            answer = await other.http.post("/api/v1/stop/bulk", json={"chat_ids": ids})
            assert answer.json()["successful"] == count
        assert [task.result() for task in talking] == ["stopped"] * count
    await eventually(lambda: side.fake.open_streams == 0)
    await assert_invariants(side.cluster, models=[side.fake])
