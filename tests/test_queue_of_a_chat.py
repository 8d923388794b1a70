"""Messages that wait in a chat: answered in order, each once, on any backend; taken back, handed back."""

import asyncio
import functools
import os
import time
from typing import Any

import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.insistent import Insistent
from tests.world.invariants import assert_invariants
from tests.world.redis_server import connect
from tests.world.rough import Rough
from tests.world.waiting import eventually


async def put(client: Client, chat_id: str, message: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """Send a message that may wait."""
    async with client.chat(chat_id, message, on_busy="queue", **more) as stream:
        if stream.status == 202:
            await stream.response.aread()
        return stream.status, {} if stream.status == 200 else dict(stream.response.json())


async def answered(client: Client, chat_id: str) -> list[str]:
    """The questions of a chat that have a reply, in the order of the chat."""
    messages = await client.messages(chat_id)
    replied = {m["run_id"] for m in messages if m["role"] == "assistant"}
    return [m["content"] for m in messages if m["role"] == "user" and m["run_id"] in replied]


async def test_a_message_that_may_wait_starts_at_once_when_nothing_runs(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    stream = await client.ask(chat_id, "hello", on_busy="queue")
    assert (stream.text, stream.outcome) == (Reply().text, "done")
    assert (await client.chat_info(chat_id))["queued"] == []


async def test_messages_wait_their_turn_and_are_answered_in_order(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", Reply(tokens=60, pace=0.02))
    async with cluster.client(1) as one, cluster.client(2) as two, one.chat(chat_id, "first") as stream:
        await stream.until_text("word0")
        for n in range(10):
            status, told = await put(two, chat_id, f"number {n}", run_id=f"waiting-{n}")
            assert (status, told["status"], told["run_id"]) == (202, "queued", f"waiting-{n}")
            assert told["position"] == n + 1
        status, told = await put(one, chat_id, "one too many")
        assert (status, told["code"]) == (409, "queue_full")
        waiting = (await two.chat_info(chat_id))["queued"]
        assert [(w["run_id"], w["message"]) for w in waiting[:1]] == [("waiting-0", "number 0")]
        assert all(w["created_at"].endswith("Z") for w in waiting)
        assert (await put(one, chat_id, "number 3", run_id="waiting-3"))[1]["position"] == 4
        status, told = await put(one, chat_id, "another", run_id="waiting-3")
        assert (status, told["code"]) == (409, "run_id_used")
        assert (await stream.rest()).outcome == "done"

        async def all_answered() -> bool:
            return len(await answered(two, chat_id)) == 11

        await eventually(all_answered)
        assert await answered(two, chat_id) == ["first", *(f"number {n}" for n in range(10))]
        assert (await put(one, chat_id, "number 3", run_id="waiting-3"))[0] in (200, 409)
    assert all(len(ollama.of(f"number {n}")) == 1 for n in range(10))
    await assert_invariants(cluster, models=[ollama])


async def test_a_reader_follows_whatever_runs(cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.on("first", HELD)
    ollama.on("second", Reply(tokens=["the ", "second ", "reply"], pace=0.2))
    async with cluster.client(1) as one, cluster.client(3) as three:
        async with one.chat(chat_id, "first") as stream:
            await stream.until_text(HELD_TEXT)
            await put(one, chat_id, "second", run_id="the-second-one")
            assert (await three.stop(chat_id, run_id=stream.run_id, wait=5000))["result"] == "stopped"
            await stream.rest()

        async def begun() -> bool:
            return any(m["content"] == "second" for m in await three.messages(chat_id))

        await eventually(begun)
        follower = await three.replay(chat_id)
        assert (follower.run_id, follower.text) == ("the-second-one", "the second reply")


async def test_one_that_waits_can_be_taken_back(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = HELD
    async with client.chat(chat_id, "first") as stream:
        await stream.until_text(HELD_TEXT)
        for n in range(3):
            await put(client, chat_id, f"number {n}", run_id=f"waiting-{n}")
        path = f"/api/v1/chat/{chat_id}/queue/waiting-1"
        taken = await client.http.delete(path)
        assert (taken.status_code, taken.json()["message"]) == (200, "number 1")
        assert (await client.http.delete(path)).status_code == 404
        left = (await client.chat_info(chat_id))["queued"]
        assert [w["run_id"] for w in left] == ["waiting-0", "waiting-2"]
        stopped = await client.stop(chat_id, run_id="waiting-2")
        assert [u["run_id"] for u in stopped["unsent"]] == ["waiting-2"]
        assert (stopped["result"], "handed back" in stopped["message"]) == ("pending", True)
        assert [w["run_id"] for w in (await client.chat_info(chat_id))["queued"]] == ["waiting-0"]
        await client.stop(chat_id, wait=5000)


async def test_a_stop_hands_back_what_waits_and_nothing_starts_by_itself(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    async with cluster.client(1) as one, cluster.client(2) as two, one.chat(chat_id, "first") as stream:
        await stream.until_text("word0")
        for n in range(3):
            await put(two, chat_id, f"number {n}", run_id=f"waiting-{n}")
        answer = await two.stop(chat_id, wait=5000)
        assert answer["result"] == "stopped"
        expected = [{"run_id": f"waiting-{n}", "message": f"number {n}"} for n in range(3)]
        assert answer["unsent"] == expected
        assert (await stream.rest()).outcome == "stopped"
        # the answer may have been lost
        assert (await one.stop(chat_id))["unsent"] == expected
        assert (await two.chat_info(chat_id))["queued"] == []
        ollama.default = Reply()
        await asyncio.sleep(0)
        assert (await two.ask(chat_id, "number 1", run_id="waiting-1")).outcome == "done"
        assert (await two.stop(chat_id))["unsent"] == []
        assert await answered(two, chat_id) == ["first", "number 1"]
    await assert_invariants(cluster, models=[ollama])


async def test_each_stop_hands_back_its_own_and_the_same_one_again(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    async with cluster.client(1) as one, cluster.client(2) as two, one.chat(chat_id, "first") as stream:
        await stream.until_text("word0")
        for n in range(2):
            await put(two, chat_id, f"number {n}", run_id=f"waiting-{n}")

        async def handed(client: Client, run_id: str | None) -> list[str]:
            return [w["run_id"] for w in (await client.stop(chat_id, wait=5000, run_id=run_id))["unsent"]]

        assert await handed(one, "waiting-1") == await handed(two, "waiting-1") == ["waiting-1"]
        assert await handed(one, "waiting-0") == ["waiting-0"]
        assert await handed(one, stream.run_id) == []
        await stream.rest()
        assert await handed(two, None) == []
    await assert_invariants(cluster, models=[ollama])


async def test_a_stop_by_the_key_hands_back_too_and_loses_nothing(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    async with cluster.client(1) as one, cluster.client(2) as two, connect(cluster.redis_url) as redis:
        async with one.chat(chat_id, "first") as stream:
            await stream.until_text("word0")
            for n in range(3):
                await put(two, chat_id, f"number {n}", run_id=f"waiting-{n}")
            await redis.set(f"stop:{chat_id}", str(int(time.time())), ex=60)
            assert (await stream.rest()).outcome == "stopped"
        info = await two.chat_info(chat_id)
        assert (info["queued"], info["run"]) == ([], None)
        assert [w["message"] for w in info["unsent"]] == [f"number {n}" for n in range(3)]
        ollama.default = Reply()
        await two.ask(chat_id, "number 1", run_id="waiting-1")
        assert (await one.chat_info(chat_id))["unsent"] == []
        assert await answered(two, chat_id) == ["first", "number 1"]
    await assert_invariants(cluster, models=[ollama])


async def test_a_stop_by_the_key_holds_when_the_backend_is_lost(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = HELD
    async with rough.cluster.client(2) as two, connect(rough.redis.url) as redis:
        async with rough.cluster.client(1) as one, one.chat(chat_id, "first") as stream:
            await stream.until_text(HELD_TEXT)
            await put(two, chat_id, "later", run_id="waiting-1")
            await rough.cluster.kill(1)
            await redis.set(f"stop:{chat_id}", str(int(time.time())), ex=60)

        async def handed_back() -> bool:
            info = await two.chat_info(chat_id)
            return info["run"] is None and not info["queued"]

        await eventually(handed_back, within=40)
        info = await two.chat_info(chat_id)
        assert [w["message"] for w in info["unsent"]] == ["later"]
        assert [m["content"] for m in info["messages"]] == ["first", HELD_TEXT]
    await rough.heal()


async def test_a_client_that_hangs_up_stops_its_own_reply_alone(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", FLOWING)
    async with cluster.client(1) as one, cluster.client(2) as two:
        body = {"message": "first", "conversation_id": chat_id, "stream": True}
        async with one.http.stream("POST", "/chat", json=body) as stream:
            pieces = stream.aiter_text()
            while "word" not in await anext(pieces):
                pass
            assert (await put(two, chat_id, "second"))[0] == 202

        async def all_answered() -> bool:
            return await answered(two, chat_id) == ["first", "second"]

        await eventually(all_answered)
    await assert_invariants(cluster, models=[ollama])


async def test_a_message_that_replaces_goes_ahead_of_those_that_wait(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", HELD)
    ollama.on("now", Reply(tokens=5, pace=0.05))
    async with cluster.client(1) as one, cluster.client(2) as two, one.chat(chat_id, "first") as stream:
        await stream.until_text(HELD_TEXT)
        await put(one, chat_id, "later", run_id="later-on")
        steered = await two.ask(chat_id, "now", on_busy="replace")
        assert steered.outcome == "done"
        assert (await stream.rest()).outcome == "stopped"

        async def all_answered() -> bool:
            return len(await answered(two, chat_id)) == 3

        await eventually(all_answered)
        assert await answered(two, chat_id) == ["first", "now", "later"]
    await assert_invariants(cluster, models=[ollama])


async def test_a_deleted_chat_forgets_what_waits(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = FLOWING
    async with client.chat(chat_id, "first") as stream:
        await stream.until_text("word0")
        for n in range(6):
            await put(client, chat_id, f"number {n}")
        assert (await client.http.delete(f"/api/v1/chat/{chat_id}")).status_code == 200
        await stream.rest()
    info = await client.chat_info(chat_id)
    assert (info["status"], info["queued"]) == ("new", [])
    assert not ollama.of("number")


@pytest.mark.parametrize("_", range(int(os.environ.get("SOAK_QUEUES", "1"))))
async def test_ten_that_wait_are_each_answered_once_while_backends_are_killed(
    rough: Rough, chat_id: str, _: int
) -> None:
    rough.ollama.default = Reply(tokens=10, pace=0.05)
    rough.ollama.on("first", HELD)
    cluster, numbers = rough.cluster, [f"number {n}" for n in range(10)]
    async with cluster.client(1) as one, cluster.client(3) as three:
        async with one.chat(chat_id, "first") as stream:
            await stream.until_text(HELD_TEXT)
            for number in numbers:  # Redis may be slow to answer on a busy machine
                body = {"message": number, "run_id": number.replace(" ", "-"), "on_busy": "queue"}
                assert (await Insistent(three).post(chat_id, body))[0] == 202
            await cluster.kill(1)  # the first reply is lost, nobody there takes the next
        second = await running_on(three, chat_id, most_waiting=7)
        await cluster.kill(second)
    async with cluster.client({2: 3, 3: 2}[second]) as last:

        async def all_answered() -> bool:
            info = await Insistent(last).info(chat_id)
            return not info["queued"] and info["run"] is None

        await eventually(all_answered, within=60)
        messages = (await Insistent(last).info(chat_id))["messages"]
    assert [m["content"] for m in messages if m["role"] == "user"] == ["first", *numbers]
    replies = [m for m in messages if m["role"] == "assistant"]
    assert [m["run_id"] for m in replies] == [m["run_id"] for m in messages if m["role"] == "user"]
    assert [m["outcome"] for m in replies].count("done") == 9
    assert {m["facts"]["backend"] for m in replies} == {"backend-1", "backend-2", "backend-3"}
    for number, reply in zip(numbers, replies[1:], strict=True):  # one was lost, perhaps before it was asked
        assert len(rough.ollama.of(number)) in ({1} if reply["outcome"] == "done" else {0, 1})
    await rough.heal()
    await assert_invariants(cluster, models=[rough.ollama])


async def running_on(client: Client, chat_id: str, most_waiting: int) -> int:
    """The backend that answers a waiting message, once no more than so many wait."""
    found: list[int] = []

    async def holds() -> bool:
        info = await Insistent(client).info(chat_id)
        if info["run"] and len(info["queued"]) <= most_waiting:
            found.append(int(info["run"]["backend"].removeprefix("backend-")))
        return bool(found)

    await eventually(holds, within=60)
    return found[0]


UNREADABLE = [
    b"x", b"not json", b"garbage 123 {broken", b"garbage 123 {}", b"garbage 123 {]", b"\xff 1 {\xff}",
    b'garbage 123 {"text": 1}', b'garbage 123 {"text": "x", "agent": []}', b"garbage 99999999999999999999 {",
    b'garbage 123 {"text": ' + b"[" * 3000, b'garbage soon {"text": "x", "agent": "general"}', b"",
]  # fmt: skip


@pytest.mark.parametrize("many", [1, 3])
async def test_what_cannot_be_read_does_not_hold_those_behind_it(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama, many: int
) -> None:
    newer = b'newer-run 123 {"text": "newer words", "agent": "general", "mood": "good"}'
    ollama.on("first", HELD)
    ids = [f"{chat_id}-{n}" for n in range(len(UNREADABLE))]
    held = [asyncio.create_task(client.ask(one, "first")) for one in ids]
    async with connect(cluster.redis_url) as redis:
        for one, garbage in zip(ids, UNREADABLE, strict=True):
            await eventually(functools.partial(redis.hexists, f"chat:{{{one}}}", "run_id"))
            assert (await put(client, one, "second", run_id="second-run"))[0] == 202
            await redis.lpush(f"chat:{{{one}}}:queue", newer, *[garbage] * many)
            waiting = (await client.chat_info(one))["queued"]
            assert [w["message"] for w in waiting] == ["newer words", "second"]
        for one in ids:
            await client.stop(one, run_id=(await client.chat_info(one))["run"]["run_id"], wait=5000)
        await asyncio.gather(*held)
        for one in ids:

            async def all_answered(one: str = one) -> bool:
                return await answered(client, one) == ["first", "newer words", "second"]

            await eventually(all_answered, within=30)
            assert not await redis.exists(f"chat:{{{one}}}:queue")


async def test_a_message_whose_entry_cannot_be_read_is_told(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", HELD)
    held = asyncio.create_task(client.ask(chat_id, "first"))
    async with connect(cluster.redis_url) as redis:
        await eventually(lambda: redis.hexists(f"chat:{{{chat_id}}}", "run_id"))
        await redis.rpush(f"chat:{{{chat_id}}}:queue", "broken-run 123 {broken")
        status, told = await put(client, chat_id, "word", run_id="broken-run")
        assert (status, told["code"]) == (409, "run_id_used")
        answer = await client.http.delete(f"/api/v1/chat/{chat_id}/queue/broken-run")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    await client.stop(chat_id, wait=5000)
    await held
