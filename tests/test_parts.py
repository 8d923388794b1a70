"""The steps of a reply are kept: what a reload, a file and the next turn get is what was streamed."""

import asyncio
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.agents.past import messages, whole_calls
from app.chat.parts import MOST_BYTES, parts_of
from app.events import Event, Model, Reasoning, Text, Tool
from app.store.records import Message
from tests.world.cluster import Cluster
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Exchange, Reply, ToolCall
from tests.world.invariants import assert_invariants
from tests.world.sides import Side
from tests.world.sse import Frame

SUM = Reply(tokens=["It is ", "42."], tool=ToolCall("calculate", {"expression": "6 * 7"}), thinking=["hm"])


def merged(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """The steps as a page would put them together from what it was shown."""
    found: list[dict[str, Any]] = []
    for frame in frames:
        if frame.event in ("text", "reasoning"):
            if found and found[-1]["type"] == frame.event:
                found[-1]["text"] += frame.json["text"]
            else:
                found.append({"type": frame.event, "text": frame.json["text"]})
        elif frame.event == "tool" and frame.json["status"] == "running":
            found.append({"type": "tool", "input": None, "output": None} | frame.json)
        elif frame.event == "tool":
            (part,) = [p for p in found if p.get("tool_use_id") == frame.json["tool_use_id"]]
            part |= {"output": None} | frame.json
    return found


def untimed(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in part.items() if key != "seconds"} for part in parts]


async def test_a_reload_shows_the_steps_that_were_streamed(side: Side, chat_id: str) -> None:
    side.fake.default = SUM
    async with side.client() as client:
        stream = await client.ask(chat_id, "6 * 7?")
        question, reply = await client.messages(chat_id)
        assert untimed(reply["parts"]) == merged(stream.frames)
        assert reply["content"] == stream.text == "It is 42."
        assert [part["type"] for part in reply["parts"]].count("tool") == 1
        for part in reply["parts"]:
            if part["type"] != "text":
                assert 0 <= part["seconds"] < 30
        assert "parts" not in question
        exported = (await client.http.get(f"/api/v1/chat/{chat_id}/export?format=json")).json()
        assert exported["messages"][-1]["parts"] == reply["parts"]
        written = (await client.http.get(f"/api/v1/chat/{chat_id}/export")).text
        assert written.count("<details>") == len([p for p in reply["parts"] if p["type"] != "text"])
        assert "calculate (done)" in written


WORDS = ["word ", "\n", "\r\n", "[DONE]", "ä🙂 ", "```\n", "  ", "data: x", "end. "]
MARK = "¶"  # the last word of a reply that then says nothing more


def said_by(fake: FakeOllama, dice: random.Random, exchange: Exchange) -> Reply:
    """Thinking and text in any order, now and then tools; some replies stall."""
    lines = [
        fake.thought(dice.choice(["hm ", "so ", "x" * 50]))
        if dice.random() < 0.3
        else fake.token(dice.choice(WORDS))
        for _ in range(dice.randrange(12))
    ]
    if sum(m["role"] == "tool" for m in exchange.body["messages"]) < 3 and dice.random() < 0.5:
        for _ in range(dice.randrange(1, 4)):
            name = dice.choice(["calculate", "calculate", "no_such_tool"])
            lines += fake.tool_call(ToolCall(name, {"expression": dice.choice(["6 * 7", "1 / 0", "("])}))
    elif "stall" in exchange.asked:
        return Reply(raw=[*lines, fake.token(MARK)], fault="stall")
    return Reply(raw=[*lines, *fake.closing(Reply(), False)])


async def test_a_reload_shows_exactly_what_was_streamed_whatever_was_said(
    cluster: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    seed = os.environ.get("SOAK_SEED", "1")
    dice, at_once = random.Random(seed), asyncio.Semaphore(8)
    ollama.plays = lambda exchange: said_by(ollama, dice, exchange)
    counts: Counter[str] = Counter()

    async def one(n: int) -> None:
        chat_id, stops, last = new_chat(), n % 3 == 0, n % 20
        async with at_once:
            asked = f"{'stall' if stops else 'talk'} {n}"
            async with cluster.client(n % 3 + 1) as client, client.chat(chat_id, asked) as stream:
                seen = None
                if stops:
                    while len(stream.frames) < last and MARK not in stream.text and await stream.next():
                        pass
                    seen = stream.frames[-1].number if stream.frames and n % 2 else None
                    async with cluster.client((n + 1) % 3 + 1) as other:
                        await other.stop(chat_id, wait=5000, seen=seen)
                await stream.rest()
            frames = [frame for frame in stream.frames if seen is None or frame.number <= seen]
            async with cluster.client((n + 2) % 3 + 1) as reader:
                reply = (await reader.messages(chat_id))[-1]
                assert (await reader.replay(chat_id)).frames == stream.frames
                await reader.http.delete(f"/api/v1/chat/{chat_id}")
        steps = merged(frames)
        for step in steps:
            if step.get("status") == "running":
                step["status"] = "stopped"
        text = "".join(step["text"] for step in steps if step["type"] == "text")
        assert (reply["content"], reply["outcome"]) == (text, stream.outcome), f"seed {seed}, run {n}"
        only_text = all(step["type"] == "text" for step in steps)
        assert untimed(reply.get("parts", [])) == ([] if only_text else steps), f"seed {seed}, run {n}"
        counts.update({str(stream.outcome): 1, "steps": len(steps)})

    many = int(os.environ.get("SOAK_PARTS", "24"))
    await asyncio.gather(*(one(n) for n in range(many)))
    assert counts["steps"] > many
    await assert_invariants(cluster, models=[ollama])


async def test_a_reply_of_text_alone_has_no_parts(side: Side, chat_id: str) -> None:
    async with side.client() as client:
        await client.ask(chat_id, "hello")
        assert "parts" not in (await client.messages(chat_id))[-1]


async def test_a_tool_that_runs_at_the_stop_is_stopped(side: Side, chat_id: str) -> None:
    side.fake.default = Reply(tool=ToolCall("slow", {"seconds": 100}))
    async with side.client() as client, client.chat(chat_id, "wait", agent="sleeper") as stream:
        await stream.until(lambda s: bool(s.of("tool")))
        answer = await client.stop(chat_id, wait=5000)
        await stream.rest()
        reply = (await client.messages(chat_id))[-1]
        assert untimed(reply["parts"]) == merged(stream.frames)
        (part,) = reply["parts"]
        assert (part["name"], part["status"], part["input"]) == ("slow", "stopped", {"seconds": 100})
        assert part["seconds"] >= 0
        assert reply["facts"]["stop_ms"] == answer["stop_ms"]
        assert reply["facts"]["answered_by"] == answer["answered_by"]


async def test_the_next_turn_knows_what_the_tools_said(side: Side, chat_id: str) -> None:
    side.fake.on("6 * 7?", SUM)
    async with side.client() as client:
        await client.ask(chat_id, "6 * 7?")
        await client.ask(chat_id, "and in words?")
    sent = side.fake.of("and in words?")[-1].body["messages"]
    if isinstance(side.fake, FakeBedrock):
        _, called, result, said, asked = sent
        (use,) = [block["toolUse"] for block in called["content"] if "toolUse" in block]
        (told,) = [block["toolResult"] for block in result["content"]]
        assert use["toolUseId"] == told["toolUseId"]
        assert (use["input"], told["content"]) == ({"expression": "6 * 7"}, [{"text": "42"}])
        assert [m["role"] for m in sent] == ["user", "assistant", "user", "assistant", "user"]
        assert (said["content"], asked["role"]) == ([{"text": "It is 42."}], "user")
    else:
        roles = [m["role"] for m in sent if m["role"] != "system"]
        assert roles == ["user", "assistant", "tool", "assistant", "user"]
        assert "42" in str(sent[-3]["content"])
        assert "6 * 7" in json.dumps(sent[-4]["tool_calls"])


# put together


def events(dice: random.Random) -> list[Event]:
    """What some run says."""
    said: list[Event] = []
    for n in range(dice.randrange(60)):
        match dice.randrange(5):
            case 0:
                said.append(Reasoning(dice.choice(["hm ", "x" * 5000])))
            case 1:
                said.append(
                    Tool(f"use-{n}", "calculate", "running", {"expression": "1" * dice.randrange(900)})
                )
                if dice.random() < 0.8:
                    said.append(
                        Tool(f"use-{n}", "calculate", dice.choice(["done", "failed"]), None, "y" * 1900)
                    )
            case 2:
                said.append(Model("reading", n, 60))
            case _:
                said.append(Text(dice.choice(["word ", "\n", "z" * 3000, "ä" * 20])))
    return said


@pytest.mark.parametrize("seed", range(50))
def test_parts_are_small_in_order_and_never_run(seed: int) -> None:
    dice = random.Random(seed)
    said = events(dice)
    text = "".join(event.text for event in said if isinstance(event, Text))
    parts = parts_of(said, dice.choice(["done", "stopped", "failed"]), {}) or []
    assert len(json.dumps(parts)) <= MOST_BYTES
    assert all(part.get("status") != "running" for part in parts)
    whole = "".join(part["text"] for part in parts if part["type"] == "text")
    assert text == whole or not parts or len(text) > MOST_BYTES // 2
    tools = [event.tool_use_id for event in said if isinstance(event, Tool) and event.status == "running"]
    assert [part["tool_use_id"] for part in parts if part["type"] == "tool"] == tools
    line = f"5 some-run-id {Message('assistant', text, parts=parts or None).body()}".encode()
    assert Message.read(line).parts == (parts or None)
    assert len(line) < MOST_BYTES + 5 * len(text) + 5000


@pytest.mark.parametrize("seed", range(50))
def test_what_the_model_is_shown_again_is_paired_and_alternates(seed: int) -> None:
    dice = random.Random(seed)
    said = events(dice)
    text = "".join(event.text for event in said if isinstance(event, Text))
    steps = whole_calls(parts_of(said, "stopped", {}))
    turns = [("user", "a"), ("assistant", text if text.strip() else "so"), ("user", "b")]
    sent = messages(turns, {1: steps} if steps else {})
    assert [m["role"] for m in sent] == (["user", "assistant"] * len(sent))[: len(sent)]
    assert sent[-1]["content"] == [{"text": "b"}]
    for one, other in itertools.pairwise(sent):
        used = [block["toolUse"]["toolUseId"] for block in one["content"] if "toolUse" in block]
        told = [block["toolResult"]["toolUseId"] for block in other["content"] if "toolResult" in block]
        assert used == told
        assert all(block["text"].strip() for block in one["content"] if "text" in block)
    assert "toolUse" not in str(sent[-1])
