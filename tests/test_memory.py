"""What is remembered of a chat: how much, how long, and what the model gets of it."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.conftest import ollama_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Failure, Reply
from tests.world.redis_server import PrivateRedis, connect
from tests.world.waiting import eventually

REFUSED = Reply(refuse=True, failure=Failure(500))


def sent(ollama: FakeOllama, question: str) -> list[tuple[str, str]]:
    """The messages the model got with a question."""
    return [
        (m["role"], m["content"]) for m in ollama.of(question)[-1].body["messages"] if m["role"] != "system"
    ]


async def test_the_model_gets_the_newest_turns_beginning_with_the_user(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    for n in range(6):
        await client.ask(chat_id, f"question {n}")
    messages = sent(ollama, "question 5")
    assert len(messages) == 7  # at most 8, and the first must be a question
    assert messages[0] == ("user", "question 2")
    assert [role for role, _ in messages] == ["user", "assistant"] * 3 + ["user"]
    assert len(await client.messages(chat_id)) == 12


async def test_a_failed_empty_reply_is_left_out_with_its_question(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await client.ask(chat_id, "good one")
    ollama.on("bad one", REFUSED)
    assert (await client.ask(chat_id, "bad one")).outcome == "failed"
    await client.ask(chat_id, "next one")
    assert [text for _, text in sent(ollama, "next one")] == ["good one", Reply().text, "next one"]
    assert [m["content"] for m in await client.messages(chat_id) if m["role"] == "user"] == [
        "good one", "bad one", "next one",
    ]  # fmt: skip


async def test_a_reply_stopped_before_its_first_token_leaves_no_invented_text(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("silent one", Reply(first_delay=100))
    async with client.chat(chat_id, "silent one") as stream:
        assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
        await stream.rest()
    replies = [m for m in await client.messages(chat_id) if m["role"] == "assistant"]
    assert [m["content"] for m in replies] in ([], [""])
    await client.ask(chat_id, "next one")
    assert sent(ollama, "next one") == [("user", "next one")]


async def test_what_does_not_fit_into_the_window_is_left_out_and_told(
    tmp_path: Path, redis_url: str, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    limits = {"CTX_TOKENS": "2048", "MAX_TOKENS": "512", "MEMORY_MAX_TURNS": "50"}
    env = {**ollama_env(ollama), **limits}
    async with Cluster(tmp_path, redis_url, backends=1, env=env) as cluster, cluster.client() as client:
        chat_id, told = new_chat(), []
        for n in range(8):
            await client.ask(chat_id, f"question {n} " + "word " * 300)
            told.append((await client.messages(chat_id))[-1]["facts"].get("left_out", 0))
            assert len(sent(ollama, f"question {n} ")) + told[-1] == 2 * n + 1
        assert told[0] == 0
        assert told == sorted(told)
        assert 0 < told[-1] < 14, "the older half goes, not everything"
        assert sent(ollama, "question 7 ")[0][0] == "user"
        chat_id = new_chat()
        for n in range(8):
            await client.ask(chat_id, f"short {n}")
        assert len(sent(ollama, "short 7")) == 15
        assert "left_out" not in (await client.messages(chat_id))[-1]["facts"]
        assert await _turns_sent_beside(client, ollama, "") == 7
        assert await _turns_sent_beside(client, ollama, "word " * 700) in (1, 3, 5), (
            "it takes of the same room"
        )


async def _turns_sent_beside(client: Client, ollama: FakeOllama, system: str) -> int:
    """Of seven turns that a client brings, with these instructions of its own."""
    question = f"brought with {len(system)}."
    turns = [{"role": ("user", "assistant")[n % 2], "content": "word " * 60} for n in range(6)]
    messages = [{"role": "system", "content": system}, *turns, {"role": "user", "content": question}]
    answer = await client.http.post("/v1/chat/completions", json={"model": "general", "messages": messages})
    assert answer.status_code == 200, answer.text
    assert system.strip() in ollama.of(question)[0].body["messages"][0]["content"]
    return len(sent(ollama, question))


async def test_a_model_with_a_smaller_window_than_was_asked_for_is_not_overfilled(
    tmp_path: Path, redis_url: str, chat_id: str, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama, "model_info", {"phi2.context_length": 1024})
    env = {**ollama_env(ollama), "CTX_TOKENS": "16384", "MAX_TOKENS": "256", "OLLAMA_NUM_BATCH": "64"}
    async with Cluster(tmp_path, redis_url, backends=1, env=env) as cluster, cluster.client() as client:
        for n in range(4):
            await client.ask(chat_id, f"question {n} " + "word " * 300)
        assert (await client.messages(chat_id))[-1]["facts"]["left_out"] > 0
    options = ollama.of("question 3 ")[0].body["options"]
    assert (options["num_ctx"], options["num_batch"]) == (16384, 64)


async def test_everything_of_a_chat_has_a_lifetime(cluster: Cluster, client: Client, chat_id: str) -> None:
    await client.ask(chat_id, "hello")
    async with connect(cluster.redis_url) as redis:
        keys = [key async for key in redis.scan_iter(match=f"*{chat_id}*", count=1000)]
        lifetimes = {key: await redis.ttl(key) for key in keys}
    assert lifetimes
    assert all(0 < seconds <= 3600 for seconds in lifetimes.values()), lifetimes
    assert max(lifetimes.values()) > 3500


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory, the_ollama: FakeOllama) -> AsyncIterator[Cluster]:
    """backend-1 and backend-2 keep very little; backend-3 keeps nothing."""
    where: Path = tmp_path_factory.mktemp("small")
    limits = {
        "MEMORY_KEEP_MESSAGES": "6", "MEMORY_MAX_TURNS": "3",
        "MEMORY_MAX_CONVERSATIONS": "4", "MAX_RUNS": "6",
        "REPLAY_TTL_SECONDS": "2",
    }  # fmt: skip
    async with (
        PrivateRedis(where) as redis,
        Cluster(
            where, redis.url, env={**ollama_env(the_ollama), **limits}, env_of={3: {"ENABLE_MEMORY": "false"}}
        ) as cluster,
    ):
        yield cluster


async def test_only_the_newest_messages_are_kept(small: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    async with small.client(1) as client:
        for n in range(5):
            await client.ask(chat_id, f"question {n}")
        info = await client.chat_info(chat_id)
        assert info["message_count"] == len(info["messages"]) == 6
        assert [m["content"] for m in info["messages"] if m["role"] == "user"] == [
            "question 2", "question 3", "question 4",
        ]  # fmt: skip
        assert [text for _, text in sent(ollama, "question 4")] == ["question 3", Reply().text, "question 4"]


async def test_the_least_recently_used_chat_goes_but_never_a_running_one(
    small: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    running, *others = [new_chat() for _ in range(7)]
    ollama.on("hold", HELD)
    async with small.client(1) as client, small.client(2) as other, client.chat(running, "hold") as stream:
        await stream.until_text(HELD_TEXT)
        for chat_id in others:
            await other.ask(chat_id, "hello")
        listed = await client.get("/api/v1/chats?limit=200")
        ids = {chat["chat_id"] for chat in listed["chats"]}
        assert running in ids
        assert set(others[-3:]) <= ids
        assert others[0] not in ids
        assert len(ids) == listed["count"] == 4
        assert (await client.chat_info(others[0]))["status"] == "new"
        await other.stop(running, wait=5000)
        await stream.rest()


async def test_without_memory_each_message_stands_alone(
    small: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    async with small.client(3) as client:
        first = await client.ask(chat_id, "first question")
        await client.ask(chat_id, "second question")
        assert sent(ollama, "second question") == [("user", "second question")]
        assert await client.messages(chat_id) == []
        assert (await client.replay(chat_id)).text == first.text


async def test_a_replay_ends_with_its_time(small: Cluster, chat_id: str) -> None:
    async with small.client(1) as client, small.client(2) as other:
        whole = await client.ask(chat_id, "hello", run_id="replay-that-ends")
        assert (await other.replay(chat_id)).frames == whole.frames

        async def gone() -> bool:
            return (await other.replay(chat_id)).status == 204

        await eventually(gone, every=0.1)
        async with client.chat(chat_id, "hello", run_id="replay-that-ends") as refused:
            assert (refused.status, refused.response.json()["code"]) == (409, "run_id_used")
        assert len(await client.messages(chat_id)) == 2


async def test_more_runs_than_allowed_are_refused(
    small: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    ollama.default = HELD
    async with small.client(1) as client, contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(client.chat(new_chat(), "hello")) for _ in range(6)]
        async with client.chat(new_chat(), "one too many") as refused:
            assert (refused.status, refused.response.json()["code"]) == (503, "overloaded")
            assert int(refused.response.headers["Retry-After"]) > 0
        for stream in streams:
            await client.stop(stream.response.headers["X-Chat-Id"], wait=5000)
            assert (await stream.rest()).outcome == "stopped"
