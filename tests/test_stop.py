"""The stop: from any backend, in every phase, the run it was meant for and no other."""

import asyncio
import os
import random
import time
from collections.abc import Callable

import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.invariants import Witness, assert_invariants
from tests.world.redis_server import connect
from tests.world.waiting import eventually

PHASES = {
    "before the model's headers": Reply(headers_delay=100),
    "before the first token": Reply(first_delay=100),
    "between tokens": FLOWING,
    "in a stalled model": HELD,
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_stop_on_another_backend_ends_the_run_in_every_phase(
    cluster: Cluster, chat_id: str, ollama: FakeOllama, phase: str
) -> None:
    ollama.default = PHASES[phase]
    witness = Witness(chat_id)
    async with cluster.client(1) as owner, cluster.client(2) as other, owner.chat(chat_id, "hello") as stream:
        witness.saw(stream, "hello")
        await eventually(lambda: ollama.of("hello"))
        if phase in {"between tokens", "in a stalled model"}:
            await stream.until_text("word2")
        answer = await other.stop(chat_id, wait=5000)
        asked = time.monotonic()
        told = ("chat_id", "status", "run_id", "result", "backend", "answered_by")
        assert {k: answer[k] for k in told} == {
            "chat_id": chat_id, "status": "accepted", "run_id": stream.run_id, "result": "stopped",
            "backend": "backend-1", "answered_by": "backend-2",
        }  # fmt: skip
        assert 0 <= answer["stop_ms"] < 5000
        await stream.rest()
        assert stream.outcome == "stopped"
        await eventually(lambda: ollama.open_streams == 0)
        (exchange,) = ollama.of("hello")
        assert exchange.left_at
        assert exchange.left_at - asked < 2
    await assert_invariants(cluster, [witness], models=[ollama])


async def test_what_was_seen_is_kept_and_goes_into_the_next_turn(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", HELD)
    async with client.chat(chat_id, "first") as stream:
        await stream.until_text(HELD_TEXT)
        await client.stop(chat_id, wait=5000)
        await stream.rest()
    kept = (await client.messages(chat_id))[-1]
    assert (kept["role"], kept["content"], kept["outcome"]) == ("assistant", HELD_TEXT, "stopped")
    await client.ask(chat_id, "second")
    sent = [m for m in ollama.of("second")[0].body["messages"] if m["role"] != "system"]
    assert [m["content"] for m in sent] == ["first", HELD_TEXT, "second"]


async def test_without_wait_the_answer_is_stopping(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = HELD
    async with client.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        answer = await client.stop(chat_id)
        assert (answer["result"], answer["run_id"], answer["stop_ms"]) == ("stopping", stream.run_id, None)
        assert answer["message"]
        assert (await stream.rest()).outcome == "stopped"


async def test_a_run_that_ended_before_is_already_finished(client: Client, chat_id: str) -> None:
    stream = await client.ask(chat_id, "hello")
    for answer in (await client.stop(chat_id), await client.stop(chat_id, run_id=stream.run_id, wait=1000)):
        assert (answer["result"], answer["run_id"], answer["stop_ms"]) == (
            "already_finished",
            stream.run_id,
            None,
        )
    assert (await client.ask(chat_id, "next")).outcome == "done"


async def test_with_nothing_to_stop_the_answer_is_pending(client: Client, chat_id: str) -> None:
    answer = await client.stop(chat_id)
    assert (answer["status"], answer["result"], answer["stop_ms"]) == ("accepted", "pending", None)
    named = await client.stop(chat_id, run_id="not-there-yet")
    assert (named["result"], named["run_id"]) == ("pending", "not-there-yet")


async def test_a_stop_that_comes_before_its_run_ends_it_at_birth(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    async with cluster.client(1) as one, cluster.client(2) as two:
        assert (await one.stop(chat_id, run_id="early-run-a"))["result"] == "pending"
        assert (await two.stop(chat_id, run_id="early-run-b"))["result"] == "pending"
        other = await one.ask(chat_id, "not meant", run_id="another-run")
        first = await two.ask(chat_id, "early a", run_id="early-run-a")
        second = await one.ask(chat_id, "early b", run_id="early-run-b")
    assert (other.outcome, first.outcome, second.outcome) == ("done", "stopped", "stopped")
    assert first.text == second.text == ""
    assert not ollama.of("early")
    await assert_invariants(cluster, models=[ollama])


async def test_a_stop_just_before_a_message_counts_for_it(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    await client.stop(chat_id)
    assert (await client.ask(chat_id, "hello")).outcome == "stopped"


@pytest.mark.parametrize("how", ["asked", "asked, and for the run", "written"])
async def test_a_stop_just_before_a_message_counts_for_one(
    cluster: Cluster, client: Client, chat_id: str, how: str
) -> None:
    async with connect(cluster.redis_url) as redis:
        if how == "written":
            await redis.set(f"stop:{chat_id}", str(time.time()), ex=60)
        else:
            await client.stop(chat_id)
        if how == "asked, and for the run":
            await client.stop(chat_id, run_id="run-stopped-twice")
        assert (await client.ask(chat_id, "hello", run_id="run-stopped-twice")).outcome == "stopped"
        assert not await redis.exists(f"stop:{chat_id}")
    assert (await client.ask(chat_id, "hello again")).outcome == "done"


@pytest.mark.parametrize("outcome", ["done", "stopped"])
async def test_a_time_that_a_reply_ended_too_soon_to_see_hits_no_later_one(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama, outcome: str
) -> None:
    ollama.default = Reply(tokens=3, pace=0.01)
    async with client.chat(chat_id, "hello") as stream:
        await stream.until_text("word0")
        at = time.time()
        assert (await stream.rest()).outcome == "done"
    async with connect(cluster.redis_url) as redis:
        await redis.set(f"stop:{chat_id}", at if outcome == "done" else time.time(), ex=60)
        assert (await client.ask(chat_id, "hello again")).outcome == outcome
        assert not await redis.exists(f"stop:{chat_id}")
    assert (await client.ask(chat_id, "once more")).outcome == "done"


async def test_a_key_that_names_a_run_waits_for_it(cluster: Cluster, client: Client, chat_id: str) -> None:
    async with connect(cluster.redis_url) as redis:
        await redis.set(f"stop:{chat_id}", "run-to-come-1", ex=60)
        assert (await client.ask(chat_id, "hello", run_id="run-before-1")).outcome == "done"
        assert (await client.ask(chat_id, "hello again", run_id="run-to-come-1")).outcome == "stopped"
        assert not await redis.exists(f"stop:{chat_id}")
        await redis.set(f"stop:{chat_id}", "run-before-1", ex=60)
        assert (await client.ask(chat_id, "once more")).outcome == "done"
        assert not await redis.exists(f"stop:{chat_id}"), "what it means has ended"


@pytest.mark.parametrize("named", ["1234_5678", "infinity", "1e300000", "-1234567", "nan"])
async def test_a_run_whose_id_could_be_read_as_a_number_is_no_time(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama, named: str
) -> None:
    ollama.default = Reply(tokens=30, pace=0.01)
    async with connect(cluster.redis_url) as redis, client.chat(chat_id, "hello") as stream:
        await stream.until_text("word2")
        await redis.set(f"stop:{chat_id}", named, ex=60)
        assert (await stream.rest()).outcome == "done"
        await redis.delete(f"stop:{chat_id}")


async def test_a_stop_in_whole_seconds_counts_also_in_the_second_of_the_last_end(
    cluster: Cluster, client: Client, chat_id: str
) -> None:
    async with connect(cluster.redis_url) as redis:
        await eventually(lambda: time.time() % 1 < 0.2, within=5)  # so that all of it is within the grace
        assert (await client.ask(chat_id, "hello")).outcome == "done"
        await redis.set(f"stop:{chat_id}", str(int(time.time())), ex=60)
        assert (await client.ask(chat_id, "hello again")).outcome == "stopped"


async def test_an_old_stop_never_touches_a_later_run(
    cluster: Cluster, client: Client, new_chat: Callable[[], str]
) -> None:
    asked, written = new_chat(), new_chat()
    await client.stop(asked)
    async with connect(cluster.redis_url) as redis:
        await redis.set(f"stop:{written}", str(time.time() - 5), ex=60)
        await asyncio.sleep(1.3)  # the stop grows older than the grace of one second
        assert (await client.ask(asked, "hello")).outcome == "done"
        assert (await client.ask(written, "hello")).outcome == "done"
        await redis.delete(f"stop:{written}")


async def test_a_program_may_write_the_key_itself(cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = FLOWING
    async with cluster.client() as client, connect(cluster.redis_url) as redis:
        async with client.chat(chat_id, "hello") as stream:
            await stream.until_text("word2")
            await redis.set(f"stop:{chat_id}", str(int(time.time())), ex=60)
            assert (await stream.rest()).outcome == "stopped"
        assert not await redis.exists(f"stop:{chat_id}")
    await assert_invariants(cluster, models=[ollama])


async def test_a_key_meant_for_another_run_hits_nobody_and_survives(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=60, pace=0.01)
    async with connect(cluster.redis_url) as redis:
        async with client.chat(chat_id, "hello") as stream:
            await stream.until_text("word2")
            await redis.set(f"stop:{chat_id}", "run-of-somebody-else", ex=60)
            assert (await stream.rest()).outcome == "done"
        assert await redis.getdel(f"stop:{chat_id}") == "run-of-somebody-else"


async def test_the_key_names_the_run_and_has_a_lifetime(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    async with (
        cluster.client(1) as client,
        cluster.client(2) as other,
        connect(cluster.redis_url) as redis,
        client.chat(chat_id, "hello") as stream,
    ):
        await stream.until_text(HELD_TEXT)
        cluster.freeze(1)
        try:
            await other.stop(chat_id)
            value, lifetime = await redis.get(f"stop:{chat_id}"), await redis.ttl(f"stop:{chat_id}")
        finally:
            cluster.thaw(1)
        assert value == stream.run_id
        assert 0 < lifetime <= 3600
        assert (await stream.rest()).outcome in {"stopped", "failed"}
    await assert_invariants(cluster, models=[ollama])


async def test_a_stop_for_another_run_id_leaves_the_running_one_alone(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", Reply(tokens=2))
    old = await client.ask(chat_id, "first")
    ollama.on("second", Reply(tokens=60, pace=0.01))
    async with client.chat(chat_id, "second") as stream:
        await stream.until_text("word2")
        assert (await client.stop(chat_id, run_id=old.run_id))["result"] == "already_finished"
        assert (await stream.rest()).outcome == "done"


async def test_two_stops_at_once_are_one_stop(cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = FLOWING
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        async with one.chat(chat_id, "hello") as stream:
            await stream.until_text("word2")
            answers = await asyncio.gather(*(p.stop(chat_id, wait=5000) for p in (two, three, two, three)))
            assert {answer["result"] for answer in answers} <= {"stopped", "already_finished"}
            assert "stopped" in {answer["result"] for answer in answers}
            assert len((await stream.rest()).terminals) == 1
        ollama.default = Reply()
        assert (await two.ask(chat_id, "next")).outcome == "done"
    await assert_invariants(cluster, models=[ollama])


async def test_runs_of_one_id_in_two_chats_are_told_apart(
    cluster: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    ollama.default = HELD
    chats = [new_chat(), new_chat()]
    async with (
        cluster.client(1) as one,
        cluster.client(2) as two,
        cluster.client(3) as three,
        one.chat(chats[0], "hello", run_id="the-same-id") as first,
        two.chat(chats[1], "hello", run_id="the-same-id") as second,
    ):
        for stream in (first, second):
            await stream.until_text(HELD_TEXT)
        answers = await asyncio.gather(*(three.stop(chat, wait=5000) for chat in chats))
        assert [(answer["result"], answer["backend"]) for answer in answers] == [
            ("stopped", "backend-1"),
            ("stopped", "backend-2"),
        ]
        assert [(await stream.rest()).outcome for stream in (first, second)] == ["stopped", "stopped"]
    await assert_invariants(cluster, models=[ollama])


async def test_many_are_stopped_with_one_request(
    cluster: Cluster, client: Client, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    ids = [new_chat() for _ in range(6)]
    idle = new_chat()

    async def talk(chat_id: str) -> str | None:
        async with client.chat(chat_id, f"hello in {chat_id}") as stream:
            return (await stream.rest()).outcome

    talking = [asyncio.create_task(talk(chat_id)) for chat_id in ids]
    await eventually(lambda: ollama.open_streams == len(ids))
    answer = await client.http.post("/api/v1/stop/bulk", json={"chat_ids": [*ids, idle, ids[0]]})
    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["total"], body["successful"], body["failed"]) == ("accepted", 7, 7, 0)
    assert [result["chat_id"] for result in body["results"]] == [*ids, idle]
    assert await asyncio.gather(*talking) == ["stopped"] * len(ids)
    await assert_invariants(cluster, models=[ollama])


@pytest.mark.parametrize("ids", [[], [f"c{n}" for n in range(1001)], ["../etc"], "abc", None])
async def test_a_list_to_stop_must_be_a_proper_one(client: Client, ids: object) -> None:
    answer = await client.http.post("/api/v1/stop/bulk", json={"chat_ids": ids})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("wait", ["-1", "5001", "soon", "1e3", ""])
async def test_wait_has_its_bounds(client: Client, chat_id: str, wait: str) -> None:
    answer = await client.http.post(f"/api/v1/stop/{chat_id}", params={"wait": wait})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_a_stop_at_the_finish_line_never_touches_the_next_reply(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    seed = int(os.environ.get("SOAK_SEED", "7"))
    chance = random.Random(seed)
    ollama.default = Reply(tokens=4, pace=0.005)
    witness = Witness(chat_id)
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        people = (one, two, three)
        for n in range(int(os.environ.get("SOAK_FINISH_LINE", "30"))):
            async with chance.choice(people).chat(chat_id, f"m{n}") as stream:
                await stream.until(lambda s: bool(s.of("start")))
                await asyncio.sleep(chance.uniform(0, 0.04))
                answer, _ = await asyncio.gather(chance.choice(people).stop(chat_id), stream.rest())
            assert stream.outcome in {"done", "stopped"}
            assert answer["result"] in {"stopping", "already_finished"}
            after = await chance.choice(people).ask(chat_id, f"after {n}")
            assert after.outcome == "done", (
                f"seed {seed}, loop {n}: the stop of {stream.run_id} hit the next reply"
            )
        witness.saw(stream, f"m{n}")
    await assert_invariants(cluster, [witness], models=[ollama])
