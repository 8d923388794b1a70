"""A chat forks at a reply, is named and instructed, and says how long it lives."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ollama_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT
from tests.world.redis_server import PrivateRedis, connect


async def fork(client: Client, source: str, run: str, **more: Any) -> Any:
    return await client.http.post(f"/api/v1/chat/{source}/fork", json={"run_id": run, **more})


async def edit(client: Client, chat_id: str, **what: Any) -> Any:
    return await client.http.patch(f"/api/v1/chat/{chat_id}", json=what)


async def test_a_fork_has_everything_up_to_the_reply(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await client.ask(chat_id, "first")
    second = await client.ask(chat_id, "second")
    await client.ask(chat_id, "third")
    before = await client.chat_info(chat_id)
    answer = await fork(client, chat_id, second.run_id)
    assert answer.status_code == 201
    made = answer.json()
    info = await client.chat_info(made["chat_id"])
    assert info["messages"] == before["messages"][:4]
    assert info["title"] == made["title"] == before["title"] + " (branch)"
    assert (info["status"], info["agent"], made["message_count"]) == ("active", "general", 4)
    assert made["chat_id"] in str(await client.get("/api/v1/chats?limit=5"))
    edited = await client.ask(made["chat_id"], "other second", replaces=second.run_id)
    assert edited.outcome == "done"
    told = [m["content"] for m in ollama.of("other second")[-1].body["messages"] if m["role"] == "user"]
    assert told == ["first", "other second"]
    assert await client.chat_info(chat_id) == before


async def test_a_fork_of_a_running_chat_and_one_that_can_go_on(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    first = await client.ask(chat_id, "first")
    ollama.on("hold", HELD)
    async with client.chat(chat_id, "hold") as stream:
        await stream.until_text(HELD_TEXT)
        assert (await fork(client, chat_id, stream.run_id)).json()["code"] == "chat_busy"
        early = (await fork(client, chat_id, first.run_id)).json()
        assert len(await client.messages(early["chat_id"])) == 2
        await client.stop(chat_id, wait=5000)
        await stream.rest()
    late = (await fork(client, chat_id, stream.run_id, chat_id=f"{chat_id}-late")).json()
    assert late["chat_id"] == f"{chat_id}-late"
    answer = await client.http.post(f"/api/v1/chat/{chat_id}-late", json={"continues": stream.run_id})
    assert answer.status_code == 200
    assert (await client.messages(late["chat_id"]))[-1]["content"].startswith(HELD_TEXT)
    assert (await client.messages(chat_id))[-1]["content"] == HELD_TEXT


async def test_the_same_fork_twice_is_one_and_takes_no_other_chats_place(
    client: Client, chat_id: str
) -> None:
    first = await client.ask(chat_id, "first")
    target = f"{chat_id}-fork"
    answers = await asyncio.gather(*(fork(client, chat_id, first.run_id, chat_id=target) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len(await client.messages(target)) == 2
    second = await client.ask(chat_id, "second")
    taken = await fork(client, chat_id, second.run_id, chat_id=target)
    assert (taken.status_code, taken.json()["code"]) == (409, "chat_exists")
    assert (await fork(client, chat_id, second.run_id, chat_id=chat_id)).status_code == 409
    for unknown in ("never-was-there", first.run_id[::-1]):
        assert (await fork(client, chat_id, unknown)).status_code == 404
    assert (await fork(client, chat_id, "x")).status_code == 422


async def test_instructions_and_temperature_go_to_the_model(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await client.ask(chat_id, "before")
    answer = await edit(client, chat_id, instructions="Speak like a pirate.", temperature=0.1)
    assert answer.json() == {
        "chat_id": chat_id, "instructions": "Speak like a pirate.", "temperature": 0.1,
    }  # fmt: skip
    await client.ask(chat_id, "during")
    body = ollama.of("during")[-1].body
    system = next(m["content"] for m in body["messages"] if m["role"] == "system")
    assert system.endswith("\n\nSpeak like a pirate.")
    assert len(system) > 40
    assert body["options"]["temperature"] == 0.1
    info = await client.chat_info(chat_id)
    assert (info["instructions"], info["temperature"]) == ("Speak like a pirate.", 0.1)
    await edit(client, chat_id, instructions=None, temperature=None)
    await client.ask(chat_id, "after")
    after = ollama.of("after")[-1].body
    assert "pirate" not in str(after["messages"][0])
    assert after["options"]["temperature"] != 0.1


async def test_the_first_message_brings_instructions_and_temperature(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    path = f"/api/v1/chat/{chat_id}"
    for message in ("hello", "and again"):
        brought = {"instructions": f"Whisper: {message}.", "temperature": 0.2}
        await client.http.post(path, json={"message": message, **brought})
        body = ollama.of(message)[-1].body
        assert body["options"]["temperature"] == 0.2
        assert "Whisper: hello." in str(body["messages"][0])  # those of the first one hold
    info = await client.chat_info(chat_id)
    assert (info["instructions"], info["temperature"]) == ("Whisper: hello.", 0.2)
    refused = await client.http.post(path, json={"message": "hello", "temperature": 3})
    assert refused.status_code == 422


async def test_a_chosen_agent_answers_where_none_is_named(client: Client, chat_id: str) -> None:
    await client.ask(chat_id, "hello")
    assert (await edit(client, chat_id, agent="poet")).json() == {"chat_id": chat_id, "agent": "poet"}
    assert (await client.chat_info(chat_id))["agent"] == "poet"
    assert (await client.ask(chat_id, "again")).of("start")[0]["agent"] == "poet"
    assert (await client.ask(chat_id, "named", agent="general")).of("start")[0]["agent"] == "general"


@pytest.mark.parametrize(
    "wrong",
    [{}, {"title": ""}, {"title": None}, {"instructions": "x" * 4001}, {"temperature": 3}, {"agent": ""}],
)
async def test_a_wrong_edit_changes_nothing(client: Client, chat_id: str, wrong: dict[str, Any]) -> None:
    await client.ask(chat_id, "hello")
    before = await client.chat_info(chat_id)
    assert (await edit(client, chat_id, **wrong)).status_code == 422
    unknown = await edit(client, chat_id, title="x", agent="nobody")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_agent")
    assert (await edit(client, "never-seen", title="x")).status_code == 404
    assert await client.chat_info(chat_id) == before


async def test_a_chat_says_when_it_goes(cluster: Cluster, client: Client, chat_id: str) -> None:
    assert (await client.chat_info(chat_id))["expires_at"] is None
    await client.ask(chat_id, "hello")
    info = await client.chat_info(chat_id)
    lives = datetime.fromisoformat(info["expires_at"]) - datetime.fromisoformat(info["updated_at"])
    assert lives.total_seconds() == 3600
    rows = (await client.get("/api/v1/chats?limit=200"))["chats"]
    assert [row["expires_at"] for row in rows if row["chat_id"] == chat_id] == [info["expires_at"]]


async def test_chats_may_be_kept_for_ever(
    tmp_path: Path, chat_id: str, the_ollama: FakeOllama, ollama: FakeOllama
) -> None:
    env = {**ollama_env(the_ollama), "MEMORY_TTL_MIN": "0"}
    async with (
        PrivateRedis(tmp_path) as redis,
        Cluster(tmp_path, redis.url, env=env, backends=1) as cluster,
        cluster.client(1) as client,
        connect(redis.url) as link,
    ):
        first = await client.ask(chat_id, "hello")
        await client.ask(chat_id, "again", replaces=first.run_id)
        await fork(client, chat_id, (await client.messages(chat_id))[-1]["run_id"], chat_id="forked-for-ever")
        info = await client.chat_info(chat_id)
        assert (info["expires_at"], info["message_count"]) == (None, 2)
        assert [row["expires_at"] for row in (await client.get("/api/v1/chats"))["chats"]] == [None, None]
        for name in ("", ":messages", ":runs", ":ids", ":versions", ":versions:1"):
            assert await link.ttl(f"chat:{{{chat_id}}}{name}") == -1
        assert 0 < await link.ttl(f"chat:{{{chat_id}}}:events:{first.run_id}") <= 600
