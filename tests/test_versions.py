"""Nothing is destroyed: what a new question takes the place of is a version, and can be put back."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Failure, Reply
from tests.world.redis_server import connect
from tests.world.rough import Rough


async def swap(client: Client, chat_id: str, version: object) -> Any:
    return await client.http.post(f"/api/v1/chat/{chat_id}/versions", json={"version": version})


def plain(messages: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(m["role"], m["content"], m["run_id"]) for m in messages]


def questions(messages: list[dict[str, Any]]) -> list[str]:
    return [m["content"] for m in messages if m["role"] == "user"]


async def test_what_was_replaced_is_a_version_and_comes_back(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await client.ask(chat_id, "first")
    second = await client.ask(chat_id, "secnod")
    third = await client.ask(chat_id, "third")
    before = await client.messages(chat_id)
    edited = await client.ask(chat_id, "second", replaces=second.run_id)
    after = await client.messages(chat_id)
    assert questions(after) == ["first", "second"]
    (version,) = after[2]["versions"]
    assert version["messages"] == before[2:]
    assert version["created_at"] == before[2]["created_at"]
    assert (await swap(client, chat_id, version["version"])).status_code == 200
    back = await client.messages(chat_id)
    assert plain(back) == plain(before)
    (other,) = back[2]["versions"]
    assert plain(other["messages"]) == plain(after[2:])
    assert (await client.replay(chat_id)).run_id == third.run_id
    await client.ask(chat_id, "fourth")
    told = [m["content"] for m in ollama.of("fourth")[-1].body["messages"] if m["role"] == "user"]
    assert told == ["first", "secnod", "third", "fourth"]
    assert (await swap(client, chat_id, other["version"])).status_code == 200
    assert plain(await client.messages(chat_id)) == plain(after)
    again = await client.ask(chat_id, "once more", replaces=edited.run_id)
    assert again.outcome == "done"
    assert len((await client.messages(chat_id))[2]["versions"]) == 2


DOORS = ["openai", "ag-ui"]
# what a client brings for a chat `one`, A, `two`, B; and the questions that stand in the chat then
REWRITTEN = {
    "the last question": (["one", "A", "two, edited"], ["one", "two, edited"]),
    "asked again": (["one", "A", "two"], ["one", "two"]),
    "the first question": (["one, edited"], ["one, edited"]),
    "all of it": (["other", "words", "three"], ["other", "three"]),
    "a reply": (["one", "A, edited", "two"], ["one", "two"]),
    "a reply and goes on": (["one", "A", "two", "B, edited", "three"], ["one", "two", "three"]),
    "it is cut": (["three"], ["three"]),
}


async def bring(client: Client, door: str, chat_id: str, texts: list[str], roles: Sequence[str] = ()) -> None:
    roles = roles or ["user", "assistant"] * len(texts)
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    if door == "openai":
        body, headers = {"model": "general", "messages": turns}, {"X-Chat-Id": chat_id}
        answer = await client.http.post("/v1/chat/completions", json=body, headers=headers)
    else:
        turns = [turn | {"id": str(n)} for n, turn in enumerate(turns)]
        body = {"threadId": chat_id, "runId": uuid.uuid4().hex, "messages": turns}
        answer = await client.http.post("/api/v1/ag-ui/general", json=body)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("what", REWRITTEN)
async def test_what_another_door_rewrites_is_a_version_and_comes_back(
    client: Client, chat_id: str, ollama: FakeOllama, what: str, door: str
) -> None:
    for question, reply in (("one", "A"), ("two", "B")):
        ollama.on(question, Reply(tokens=[reply]))
        await client.ask(chat_id, question)
    ollama.on("two", Reply(tokens=["C"]))
    before = await client.messages(chat_id)
    brought, expected = REWRITTEN[what]
    await bring(client, door, chat_id, brought)
    after = await client.messages(chat_id)
    assert questions(after) == expected
    assert [m["content"] for m in after[: len(brought)]] == brought
    (version,) = [version for message in after for version in message.get("versions", ())]
    assert plain(version["messages"]) == plain(before[len(before) - len(version["messages"]) :])
    assert (await swap(client, chat_id, version["version"])).status_code == 200
    assert plain(await client.messages(chat_id)) == plain(before)
    (version,) = [v for message in await client.messages(chat_id) for v in message.get("versions", ())]
    assert (await swap(client, chat_id, version["version"])).status_code == 200
    assert [m["content"] for m in await client.messages(chat_id)] == [m["content"] for m in after]


@pytest.mark.parametrize("door", DOORS)
async def test_a_conversation_that_only_goes_on_makes_no_version(
    client: Client, chat_id: str, ollama: FakeOllama, door: str
) -> None:
    ollama.on("silent", Reply(refuse=True, failure=Failure(500)))
    said: list[str] = []
    for question in ("one", "two"):
        await bring(client, door, chat_id, [*said, question])
        said += [question, ollama.default.text]
    await client.ask(chat_id, "silent")  # its reply says nothing: no client brings that back
    before = await client.messages(chat_id)
    ollama.on("silent", Reply())
    roles = ["user", "assistant", "user", "assistant", "user", "user"]
    await bring(client, door, chat_id, [*said, "silent", "three"], roles)
    after = await client.messages(chat_id)
    assert after[:6] == before
    assert [m["content"] for m in after[6:]] == ["three", Reply().text]


async def test_the_same_swap_twice_is_one_and_an_unknown_one_is_refused(client: Client, chat_id: str) -> None:
    stream = await client.ask(chat_id, "one")
    await client.ask(chat_id, "two", replaces=stream.run_id)
    version = (await client.messages(chat_id))[0]["versions"][0]["version"]
    assert [(await swap(client, chat_id, version)).status_code for _ in range(3)] == [200] * 3
    assert questions(await client.messages(chat_id)) == ["one"]
    for unknown in (version + 7, 99):
        answer = await swap(client, chat_id, unknown)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await swap(client, "never-seen", 1)).status_code == 404
    for wrong in (0, "x", None, 1.5):
        assert (await swap(client, chat_id, wrong)).status_code == 422


async def test_a_running_chat_swaps_nothing(cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.on("three", HELD)
    async with cluster.client(1) as one, cluster.client(2) as two:
        stream = await one.ask(chat_id, "one")
        await one.ask(chat_id, "two", replaces=stream.run_id)
        version = (await one.messages(chat_id))[0]["versions"][0]["version"]
        async with one.chat(chat_id, "three") as held:
            await held.until_text(HELD_TEXT)
            answer = await swap(two, chat_id, version)
            told = answer.json()
            assert (answer.status_code, told["code"], told["run_id"]) == (409, "chat_busy", held.run_id)
            await two.stop(chat_id, wait=5000)
        assert questions(await two.messages(chat_id)) == ["two", "three"]


async def test_ten_versions_are_kept_and_their_bytes_are_counted(
    cluster: Cluster, client: Client, chat_id: str
) -> None:
    stream = await client.ask(chat_id, "question 0")
    for n in range(1, 13):
        stream = await client.ask(chat_id, f"question {n}", replaces=stream.run_id)
    found = (await client.messages(chat_id))[0]["versions"]
    assert [v["messages"][0]["content"] for v in found] == [f"question {n}" for n in range(2, 12)]
    for one in (found[0], found[5]):
        assert (await swap(client, chat_id, one["version"])).status_code == 200
    async with connect(cluster.redis_url) as redis:
        lines = await redis.lrange(f"chat:{{{chat_id}}}:messages", 0, -1)
        keys = [key async for key in redis.scan_iter(f"chat:{{{chat_id}}}:versions:*", count=1000)]
        assert len(keys) == 10
        held = sum([len(line) for key in keys for line in await redis.lrange(key, 0, -1)])
        counted = int(await redis.hget(f"chat:{{{chat_id}}}", "bytes") or 0)
    assert counted == sum(map(len, lines)) + held


async def test_versions_as_earlier_releases_kept_them_are_read_and_put_back(
    cluster: Cluster, client: Client, chat_id: str
) -> None:
    stream = await client.ask(chat_id, "question 0")
    await client.ask(chat_id, "more")
    for n in range(1, 4):
        stream = await client.ask(chat_id, f"question {n}", replaces=stream.run_id)
    before = await client.messages(chat_id)
    older = f"chat:{{{chat_id}}}:versions"
    async with connect(cluster.redis_url) as redis:
        for n in (1, 2, 3):  # their lines were one text, which weighed its line feeds too
            lines = await redis.lrange(f"{older}:{n}", 0, -1)
            await redis.hset(older, f"{n}:lines", "\n".join(map(str, lines)))
            await redis.hincrby(f"chat:{{{chat_id}}}", "bytes", len(lines) - 1)
            await redis.hdel(older, f"{n}:bytes")
            await redis.delete(f"{older}:{n}")
        assert await client.messages(chat_id) == before
        for version in before[0]["versions"]:
            assert (await swap(client, chat_id, version["version"])).status_code == 200
            assert plain(await client.messages(chat_id)) == plain(version["messages"])
        lists = [f"chat:{{{chat_id}}}:messages", *await redis.keys(f"{older}:*")]
        held = sum([len(line) for key in lists for line in await redis.lrange(key, 0, -1)])
        assert len(lists) == 4
        assert held == int(await redis.hget(f"chat:{{{chat_id}}}", "bytes") or 0)


async def test_swaps_whose_answers_are_lost_lose_nothing(rough: Rough, chat_id: str) -> None:
    async with rough.cluster.client(1) as client:
        stream = await client.ask(chat_id, "one")
        await client.ask(chat_id, "two", replaces=stream.run_id)
        rough.redis_link.drop_fraction = 0.2
        for n in range(12):
            rough.redis_link.drop_fraction = 0.0
            (question, _) = await client.messages(chat_id)
            (version,) = question["versions"]
            rough.redis_link.drop_fraction = 0.2
            for _ in range(20):
                if (await swap(client, chat_id, version["version"])).status_code == 200:
                    break
            rough.redis_link.drop_fraction = 0.0
            assert questions(await client.messages(chat_id)) == [("one", "two")[n % 2]]
            assert questions(version["messages"]) == [("one", "two")[n % 2]]
    await rough.heal()


async def test_swaps_at_once_keep_every_message(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=2)
    stream = await client.ask(chat_id, "q0")
    for n in range(1, 5):
        stream = await client.ask(chat_id, f"q{n}", replaces=stream.run_id)
    found = (await client.messages(chat_id))[0]["versions"]
    answers = await asyncio.gather(*(swap(client, chat_id, one["version"]) for one in found * 2))
    assert {answer.status_code for answer in answers} <= {200, 404}
    question, _ = await client.messages(chat_id)
    every = [question["content"], *(v["messages"][0]["content"] for v in question["versions"])]
    assert sorted(every) == [f"q{n}" for n in range(5)]
