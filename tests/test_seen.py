"""A stop that says what was seen: what is kept ends there, whoever writes it; the log has it all."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.world.client import Client, Stream, text_of
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.proxy import FaultProxy
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.invariants import assert_invariants
from tests.world.redis_server import command, connect
from tests.world.rough import Rough, read_until_broken


def shown(stream: Stream, number: int) -> str:
    """The text of the events up to this number."""
    return "".join(text_of(frame, stream.kind) for frame in stream.frames if frame.number <= number)


async def kept(cluster: Cluster, chat_id: str) -> dict[str, Any]:
    async with cluster.client() as client:
        return (await client.messages(chat_id))[-1]


async def test_what_is_kept_ends_with_what_was_seen(
    cluster: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    async with cluster.client(1) as owner, cluster.client(2) as other:
        for number in range(2, 2 + int(os.environ.get("SOAK_SEEN", "8"))):
            chat_id = new_chat()
            async with owner.chat(chat_id, "hello", kind="json" if number % 2 else "text") as stream:
                await stream.until(lambda s, n=number: s.frames[-1:] and s.frames[-1].number >= n + 5)  # type: ignore[misc]
                answer = await other.stop(chat_id, wait=5000, seen=number)
                assert answer["result"] == "stopped"
                await stream.rest()
            reply = await kept(cluster, chat_id)
            assert (reply["content"], reply["outcome"]) == (shown(stream, number), "stopped")
            assert reply["facts"]["stop_ms"] == answer["stop_ms"]
            assert reply["facts"]["answered_by"] == "backend-2"
            assert (await other.replay(chat_id, kind=stream.kind)).frames == stream.frames
    await assert_invariants(cluster, models=[ollama])


@pytest.mark.parametrize("seen", [0, 1, 10**9])
async def test_a_number_beyond_either_end_keeps_nothing_or_all(
    cluster: Cluster, chat_id: str, ollama: FakeOllama, seen: int
) -> None:
    ollama.on("first", HELD)
    async with cluster.client() as client, client.chat(chat_id, "first") as stream:
        await stream.until_text(HELD_TEXT)
        await client.stop(chat_id, wait=5000, seen=seen)
        await stream.rest()
        text = HELD_TEXT if seen > 1 else ""
        assert (await kept(cluster, chat_id))["content"] == text
        await client.ask(chat_id, "second")
        told = [m["content"] for m in ollama.of("second")[-1].body["messages"] if m["role"] != "system"]
        assert told == (["first", text, "second"] if text else ["second"])


async def test_a_reply_that_ended_by_itself_is_kept_whole(cluster: Cluster, chat_id: str) -> None:
    async with cluster.client() as client:
        stream = await client.ask(chat_id, "hello")
        answer = await client.stop(chat_id, wait=1000, seen=2, run_id=stream.run_id)
        assert answer["result"] == "already_finished"
        assert (await kept(cluster, chat_id))["content"] == stream.text


@pytest.mark.parametrize("seen", [-1, "many", 1.5])
async def test_a_number_that_is_none_is_refused(cluster: Cluster, chat_id: str, seen: object) -> None:
    async with cluster.client() as client:
        answer = await client.http.post(f"/api/v1/stop/{chat_id}", json={"seen": seen})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_what_was_seen_is_found_by_the_poll_too(rough: Rough, new_chat: Callable[[], str]) -> None:
    rough.ollama.default = FLOWING
    async with (
        rough.cluster.client(1) as one,
        rough.cluster.client(2) as two,
        connect(rough.redis.url) as redis,
    ):
        await command(redis, "ACL", "SETUSER", "default", "-subscribe", "-psubscribe", "-ssubscribe")
        await command(redis, "CLIENT", "KILL", "TYPE", "pubsub")
        for number in (3, 7):
            chat_id = new_chat()
            async with one.chat(chat_id, "hello") as stream:
                await stream.until(lambda s: len(s.frames) > 12)
                assert (await two.stop(chat_id, wait=5000, seen=number))["result"] == "stopped"
                await stream.rest()
            assert (await kept(rough.cluster, chat_id))["content"] == shown(stream, number)
        await command(redis, "ACL", "SETUSER", "default", "+@all")
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def test_what_was_seen_holds_when_the_backend_is_lost(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = Reply(tokens=100, pace=0.01, fault="stall", fault_after=20)
    async with (
        rough.cluster.client(1) as one,
        rough.cluster.client(2) as two,
        one.chat(chat_id, "hi") as stream,
    ):
        await stream.until_text("word19 ")
        async with two.attach(chat_id) as reader:
            await reader.until_text("word19 ")
        await rough.cluster.kill(1)
        answer = await two.stop(chat_id, wait=5000, seen=6)
        assert answer["result"] == "owner_lost"
        await read_until_broken(stream)
        reply = (await two.messages(chat_id))[-1]
        assert (reply["content"], reply["outcome"]) == (shown(stream, 6), "failed")
    await rough.heal()


async def test_what_a_screen_far_away_has_shown_is_what_is_kept(
    cluster: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    """200 ms lie between the person and the server: the model is far ahead of what was shown."""
    ollama.default = Reply(tokens=100_000, pace=0.02)
    many = int(os.environ.get("SOAK_SEEN", "8"))
    at_once = asyncio.Semaphore(8)
    async with FaultProxy("127.0.0.1", cluster.port) as link, cluster.client() as near:
        link.delay = 0.2

        async def stopped(number: int) -> None:
            chat_id = new_chat()
            async with (
                at_once,
                Client(f"http://127.0.0.1:{link.port}") as far,
                far.chat(chat_id, f"hello {number}") as stream,
            ):
                await stream.until(lambda s: len(s.frames) > number % 20)
                seen = stream.frames[-1].number
                assert (await far.stop(chat_id, wait=5000, seen=seen))["result"] == "stopped"
                await stream.rest()
            (_, reply) = await near.messages(chat_id)
            assert (reply["content"], reply["outcome"]) == (shown(stream, seen), "stopped")
            await near.http.delete(f"/api/v1/chat/{chat_id}")

        await asyncio.gather(*(stopped(n) for n in range(many)))
    await assert_invariants(cluster, models=[ollama])


async def test_the_text_on_a_slow_screen_is_the_text_that_is_kept(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.default = Reply(tokens=2000, pace=0.002)
    rough.redis_link.delay = 0.02
    async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:

        async def stopped(number: int) -> None:
            chat_id = new_chat()
            async with one.chat(chat_id, f"hello {number}") as stream:
                await stream.until(lambda s: len(s.frames) > number)
                seen = stream.frames[-1].number
                await two.stop(chat_id, wait=5000, seen=seen)
                await stream.rest()
            assert (await kept(rough.cluster, chat_id))["content"] == shown(stream, seen)

        await asyncio.gather(*(stopped(5 + 9 * n) for n in range(int(os.environ.get("SOAK_SEEN", "8")))))
    await rough.heal()
    await assert_invariants(rough.cluster, models=[rough.ollama])
