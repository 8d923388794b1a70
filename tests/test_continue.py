"""A reply that was cut goes on as one reply, and nothing is put into anybody's mouth."""

import asyncio
from typing import Any

import pytest

from app.runs.joint import Joint, open_fence
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Failure, Reply, ToolCall
from tests.world.rough import Rough, read_until_broken


async def held(client: Client, chat_id: str, ollama: FakeOllama) -> str:
    """A reply that was stopped; its run id."""
    ollama.on("hello", HELD)
    async with client.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        await client.stop(chat_id, wait=5000)
        await stream.rest()
    ollama.on("Go on", Reply(tokens=["and ", "more"]))
    return stream.run_id


def asking(client: Client, chat_id: str, last: str, **more: Any) -> Any:
    url = f"/api/v1/chat/{chat_id}?format=json"
    request = client.http.build_request("POST", url, json={"continues": last, **more})
    return client._stream(request, "json")


async def go_on(client: Client, chat_id: str, last: str, **more: Any) -> Any:
    async with asking(client, chat_id, last, **more) as stream:
        assert stream.status == 200, stream.response.text
        return await stream.rest()


async def refused(client: Client, chat_id: str, last: str, **more: Any) -> tuple[int, str]:
    async with asking(client, chat_id, last, **more) as stream:
        assert stream.response.json()["detail"]
        return stream.status, stream.response.json()["code"]


async def test_a_stopped_reply_goes_on_as_one(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    run_id = await held(client, chat_id, ollama)
    stream = await go_on(client, chat_id, run_id)
    question, reply = await client.messages(chat_id)
    assert (question["content"], reply["content"]) == ("hello", HELD_TEXT + stream.text)
    assert stream.text == "and more"
    assert (reply["outcome"], reply["run_id"], reply["facts"]["continued"]) == ("done", run_id, 1)
    sent = [m for m in ollama.of("Go on")[-1].body["messages"] if m["role"] != "system"]
    assert [m["role"] for m in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"] == HELD_TEXT
    assert await refused(client, chat_id, run_id) == (409, "not_open")
    assert (await client.replay(chat_id)).run_id == stream.run_id
    again = await client.ask(chat_id, "hi again", replaces=stream.run_id)
    assert again.outcome == "done"
    (version,) = (await client.messages(chat_id))[0]["versions"]
    assert version["messages"][-1]["content"] == reply["content"]


async def test_it_goes_on_again_and_again_by_either_id(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    run_id = await held(client, chat_id, ollama)
    ollama.on("Go on", Reply(tokens=["more "], stop_reason="length"))
    second = await go_on(client, chat_id, run_id)
    third = await go_on(client, chat_id, second.run_id)
    await go_on(client, chat_id, run_id)
    reply = (await client.messages(chat_id))[-1]
    assert reply["content"] == HELD_TEXT + "more more more "
    assert reply["facts"]["continued"] == 3
    assert third.end["stop_reason"] == "max_tokens"


async def test_only_the_last_reply_that_was_cut_goes_on(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    done = await client.ask(chat_id, "fine")
    assert await refused(client, chat_id, done.run_id) == (409, "not_open")
    run_id = await held(client, chat_id, ollama)
    assert await refused(client, chat_id, done.run_id) == (409, "not_open")
    assert await refused(client, chat_id, "nobody-knows-it") == (409, "not_open")
    assert await refused(client, "never-seen-chat", run_id) == (409, "not_open")
    assert await refused(client, chat_id, run_id, message="x") == (422, "invalid")
    assert await refused(client, chat_id, run_id, replaces=run_id) == (422, "invalid")
    before = await client.messages(chat_id)
    await client.ask(chat_id, "next")
    assert await refused(client, chat_id, run_id) == (409, "not_open")
    assert (await client.messages(chat_id))[: len(before)] == before


async def test_a_failed_reply_goes_on_and_an_empty_one_is_asked_for_anew(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("hello", Reply(refuse=True, failure=Failure(500)))
    failed = await client.ask(chat_id, "hello")
    assert failed.outcome == "failed"
    ollama.on("hello", Reply(fault="drop", fault_after=3))
    broken = await go_on(client, chat_id, failed.run_id)
    assert broken.outcome == "failed"
    ollama.on("Go on", Reply(tokens=["at last"]))
    await go_on(client, chat_id, broken.run_id)
    _, reply = await client.messages(chat_id)
    assert (reply["content"], reply["outcome"]) == (HELD_TEXT + "at last", "done")
    assert "error" not in reply["facts"]


async def test_a_stop_while_it_goes_on_keeps_the_first_half(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    async with cluster.client(1) as one, cluster.client(2) as two:
        run_id = await held(one, chat_id, ollama)
        ollama.on("Go on", FLOWING)
        async with asking(one, chat_id, run_id) as stream:
            await stream.until(lambda s: len(s.frames) > 8)
            assert (await two.chat_info(chat_id))["run"]["continues"]
            assert (await two.messages(chat_id))[-1]["content"] == HELD_TEXT
            await two.stop(chat_id, wait=5000, seen=5)
            await stream.rest()
        shown = "".join(frame.json["text"] for frame in stream.frames[1:5])
        reply = (await two.messages(chat_id))[-1]
        assert (reply["content"], reply["outcome"]) == (HELD_TEXT + shown, "stopped")
        assert len(await two.messages(chat_id)) == 2


async def test_twice_at_once_is_once(cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    async with cluster.client(1) as one, cluster.client(2) as two:
        run_id = await held(one, chat_id, ollama)
        ollama.on("Go on", Reply(tokens=["more "] * 3, first_delay=0.3))
        statuses = []

        async def ask(client: Client) -> None:
            async with asking(client, chat_id, run_id) as stream:
                statuses.append(stream.status)
                if stream.status == 200:
                    await stream.rest()

        await asyncio.gather(*(ask(client) for client in (one, two) * 3))
        assert sorted(statuses) == [200] + [409] * 5
        assert (await two.messages(chat_id))[-1]["content"] == HELD_TEXT + "more " * 3


async def test_the_same_run_id_goes_on_once(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    run_id = await held(client, chat_id, ollama)
    streams = [await go_on(client, chat_id, run_id, run_id="goes-on-once") for _ in range(2)]
    assert streams[0].frames == streams[1].frames
    assert (await client.messages(chat_id))[-1]["content"] == HELD_TEXT + "and more"


async def test_a_lost_backend_loses_neither_half(rough: Rough, chat_id: str) -> None:
    async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:
        run_id = await held(two, chat_id, rough.ollama)
        rough.ollama.on("Go on", Reply(tokens=20, pace=0.01, fault="stall", fault_after=9))
        async with asking(one, chat_id, run_id) as stream:
            await stream.until_text("word8 ")
            await rough.cluster.kill(1)
            await read_until_broken(stream)
        again = await two.replay(chat_id)
        reply = (await two.messages(chat_id))[-1]
        assert (reply["content"], reply["outcome"]) == (HELD_TEXT + again.text, "failed")
        assert len(await two.messages(chat_id)) == 2
    await rough.heal()


async def test_steps_go_on_too(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    run_id = await held(client, chat_id, ollama)
    ollama.on("Go on", Reply(tokens=["It is 4."], tool=ToolCall("calculate", {"expression": "2+2"})))
    stream = await go_on(client, chat_id, run_id)
    reply = (await client.messages(chat_id))[-1]
    assert [part["type"] for part in reply["parts"]] == ["text", "tool", "text"]
    assert reply["content"] == HELD_TEXT + stream.text == HELD_TEXT + "\n\nIt is 4."


CODE = "So:\n```python\nx = 1\n"
SEAMS = [
    ("The quick bro", ["wn fox"], "wn fox"),
    ("The quick", [" brown"], " brown"),
    ("The quick ", [" ", "brown"], "brown"),
    ("One.\n\n", ["\n\n", "Two."], "Two."),
    ("One.\n", ["\n\n\nTwo."], "\nTwo."),
    ("- a\n", ["  - b"], "  - b"),
    (CODE, ["```py", "thon\n", "y = 2\n```"], "y = 2\n```"),
    (CODE, ["    y = 2"], "    y = 2"),
    (CODE, ["```", "\nThere."], "```\nThere."),
    (CODE + "```\n", ["```python\n", "y"], "```python\ny"),
    ("~~~\nx\n", ["```sh\nls"], "```sh\nls"),
    ("", ["  hi"], "  hi"),
]


@pytest.mark.parametrize(("before", "pieces", "said"), SEAMS)
def test_the_seam_repeats_neither_white_space_nor_a_fence(before: str, pieces: list[str], said: str) -> None:
    for parts in (pieces, ["".join(pieces)], list("".join(pieces))):
        joint = Joint(before)
        assert "".join([*(joint.join(part) for part in parts), joint.last()]) == said


def test_a_fence_is_open_until_one_as_long_closes_it() -> None:
    assert open_fence("```\na") == "`"
    assert open_fence("```\na\n```\n") == ""
    assert open_fence("````\n```\n") == "`"
    assert open_fence("~~~ js\n```\n") == "~"
    assert open_fence("a `` b ``` c") == ""
