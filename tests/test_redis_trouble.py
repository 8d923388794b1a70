"""Redis restarted, frozen, full, slow, forgetful, or answering into the void: what must hold all the same."""

import asyncio
import os
import time
from collections.abc import Callable
from signal import SIGKILL, SIGTERM, Signals
from typing import Any, Literal

import pytest

from app.clock import EXCHANGE_SECONDS
from app.store.scripts import END
from app.store.stops import LOOK
from tests.world.client import Client
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.invariants import Witness, assert_invariants
from tests.world.redis_server import command, connect
from tests.world.rough import Rough
from tests.world.waiting import eventually


@pytest.mark.parametrize("number", [SIGTERM, SIGKILL], ids=["asked", "killed"])
async def test_a_restart_of_redis_is_survived_by_live_replies(
    rough: Rough, new_chat: Callable[[], str], number: Signals
) -> None:
    rough.ollama.default = Reply(tokens=400, pace=0.02)
    witness = Witness(new_chat())
    async with rough.cluster.client(1) as one:
        async with one.chat(witness.chat_id, "hello") as stream:
            witness.saw(stream, "hello")
            await stream.until_text("word20 ")
            await rough.redis.program.end(number)
            seen = len(stream.frames)
            await refused_for_redis(one, new_chat())
            await stream.until(lambda s: len(s.frames) > seen + 20)
            assert (await one.http.get("/health/live")).status_code == 200
            await rough.redis.start()
            await rough.cluster.ready()
            assert ((await stream.rest()).outcome, stream.text) == ("done", rough.ollama.default.text)
        rough.ollama.default = Reply()
        assert (await one.ask(witness.chat_id, "next")).outcome == "done"
    await assert_invariants(rough.cluster, [witness], models=[rough.ollama])


async def test_a_frozen_redis_stalls_no_live_reader(rough: Rough, new_chat: Callable[[], str]) -> None:
    rough.ollama.default = Reply(tokens=500, pace=0.02)
    witness = Witness(new_chat())
    async with rough.cluster.client(1) as one, one.chat(witness.chat_id, "hello") as stream:
        witness.saw(stream, "hello")
        await stream.until_text("word5 ")
        rough.redis.freeze()
        frozen = time.monotonic()
        seen = len(stream.frames)
        await stream.until(lambda s: len(s.frames) > seen + 50)
        await refused_for_redis(one, new_chat())
        await eventually(lambda: time.monotonic() - frozen > 5, every=0.1)
        rough.redis.thaw()
        await rough.cluster.ready()
        assert ((await stream.rest()).outcome, stream.text) == ("done", rough.ollama.default.text)
    await assert_invariants(rough.cluster, [witness], models=[rough.ollama])


async def test_a_full_redis_refuses_new_replies_and_still_stops_old_ones(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.default = FLOWING
    running = Witness(new_chat())
    async with (
        rough.cluster.client(1) as one,
        rough.cluster.client(2) as two,
        connect(rough.redis.url) as redis,
        one.chat(running.chat_id, "hello") as stream,
    ):
        running.saw(stream, "hello")
        await stream.until_text("word5 ")
        asked = len(rough.ollama.exchanges)
        await redis.config_set("maxmemory", "1mb")
        async with two.chat(new_chat(), "refused") as refused:
            assert (refused.status, refused.response.json()["code"]) == (503, "redis_unavailable")
            assert refused.response.headers["Retry-After"]
        assert len(rough.ollama.exchanges) == asked
        assert (await two.chat_info(running.chat_id))["message_count"] == 1
        await two.stop(running.chat_id)
        await eventually(lambda: rough.ollama.open_streams == 0)
        await redis.config_set("maxmemory", "0")
        assert (await stream.rest()).outcome == "stopped"
    await assert_invariants(rough.cluster, [running], models=[rough.ollama])


async def test_stops_land_while_the_wake_up_links_are_cut_again_and_again(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.default = HELD
    async with (
        rough.cluster.client(1) as one,
        rough.cluster.client(2) as two,
        connect(rough.redis.url) as redis,
    ):
        for _ in range(int(os.environ.get("SOAK_PUBSUB", "10"))):
            chat_id = new_chat()
            async with one.chat(chat_id, "hello") as stream:
                await stream.until_text(HELD_TEXT)
                await command(redis, "CLIENT", "KILL", "TYPE", "pubsub")
                answer = await two.stop(chat_id, wait=3000)
                assert answer["result"] == "stopped"
                assert (await stream.rest()).outcome == "stopped"
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def test_without_wake_ups_stops_land_by_the_poll_and_health_says_so(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = HELD
    async with (
        rough.cluster.client(1) as one,
        rough.cluster.client(2) as two,
        connect(rough.redis.url) as redis,
    ):
        await command(redis, "ACL", "SETUSER", "default", "-subscribe", "-psubscribe", "-ssubscribe")
        await command(redis, "CLIENT", "KILL", "TYPE", "pubsub")

        async def polling() -> bool:
            return bool((await one.get("/health"))["stop_listener"] == "polling")

        await eventually(polling)
        async with one.chat(chat_id, "hello") as stream:
            await stream.until_text(HELD_TEXT)
            assert (await two.stop(chat_id, wait=3000))["result"] == "stopped"
            assert (await stream.rest()).outcome == "stopped"
        await command(redis, "ACL", "SETUSER", "default", "+@all")

        async def listening() -> bool:
            return bool((await one.get("/health"))["stop_listener"] == "listening")

        await eventually(listening, within=20)
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def test_lost_answers_of_redis_lose_no_stop_and_stop_nobody_else(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.default = Reply(tokens=30, pace=0.01)
    rough.redis_link.drop_fraction = 0.05
    loops, ended, retried = int(os.environ.get("SOAK_LOST_ANSWERS", "15")), [], 0
    async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:
        for n in range(loops):
            chat_id, run_id = new_chat(), f"stopped-run-{n:04}"
            async with one.chat(chat_id, "hello", run_id=run_id) as stream:
                if stream.status != 200:
                    retried += 1
                    continue
                await stream.until_text("word1 ")
                answer = await two.http.post(f"/api/v1/stop/{chat_id}", json={"run_id": run_id})
                await stream.rest()
                if answer.status_code == 202 and answer.json()["result"] in {"stopping", "stopped"}:
                    ended.append(stream.outcome)
            async with one.chat(chat_id, "next", run_id=f"next-run-{n:04}") as after:
                if after.status == 200:
                    assert (await after.rest()).outcome == "done", "a stop hit the next reply"
    assert rough.redis_link.dropped
    assert ended
    assert set(ended) == {"stopped"}, f"{ended.count('done')} of {len(ended)} accepted stops were lost"
    assert retried < loops / 2
    rough.redis_link.heal()
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def test_a_stop_key_that_comes_after_the_end_of_its_run_does_not_stay(
    rough: Rough, chat_id: str
) -> None:
    rough.ollama.default = HELD
    late: list[bytes] = []

    def keys(data: bytes) -> float:
        if not data.startswith(b"*5\r\n$3\r\nSET\r\n") or f"stop:{chat_id}".encode() not in data:
            return 0.0
        late.append(data)
        return 0.7 * EXCHANGE_SECONDS

    rough.redis_link.meets = keys
    async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:
        async with one.chat(chat_id, "hello") as stream:
            await stream.until_text(HELD_TEXT)
            stopping = asyncio.create_task(two.stop(chat_id))
            assert (await stream.rest()).outcome == "stopped"
            assert late
            assert not stopping.done()
        await stopping


async def test_a_stop_whose_answer_is_lost_when_it_has_ended_the_reply_is_told_so(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.default = FLOWING
    lost: list[str] = []

    def meets(data: bytes) -> Literal["lose"] | float:
        if LOOK.sha.encode() in data and chat_id.encode() in data and chat_id not in lost:
            lost.append(chat_id)
            return "lose"
        return 0.0

    rough.redis_link.meets = meets
    async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:
        for way in range(4):
            chat_id = new_chat()
            async with one.chat(chat_id, "hello") as stream:
                await stream.until_text("word0")
                answer = await two.stop(chat_id, wait=5000, run_id=stream.run_id if way % 2 else None)
                told = (answer["result"], answer["run_id"], answer["backend"], answer["answered_by"])
                assert told == ("stopped", stream.run_id, "backend-1", "backend-2")
                assert (await stream.rest()).outcome == "stopped"
            facts = (await one.messages(chat_id))[-1]["facts"]
            assert (answer["stop_ms"], facts["answered_by"]) == (facts["stop_ms"], "backend-2")
            again = await one.stop(chat_id, wait=1000)  # another stop comes too late
            assert (again["result"], again["stop_ms"]) == ("already_finished", None)
            assert chat_id in lost
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def test_a_reader_gets_the_newest_reply_where_the_answer_to_an_ending_is_lost(
    rough: Rough, chat_id: str
) -> None:
    rough.ollama.default = HELD
    met: list[int] = []

    def endings(data: bytes) -> Literal["lose"] | float:
        if END.sha.encode() not in data or b"waits-no-more" in data or chat_id.encode() not in data:
            return 0.0
        met.append(len(met))
        return "lose" if len(met) == 1 else 0.9 * EXCHANGE_SECONDS

    async with (
        rough.cluster.client(1) as one,
        rough.cluster.client(2) as two,
        one.chat(chat_id, "first") as stream,
    ):
        await stream.until_text(HELD_TEXT)
        rough.redis_link.meets = endings
        async with two.chat(chat_id, "second", run_id="waits-no-more", on_busy="replace") as other:
            async with one.attach(chat_id) as reader:
                await reader.until_text(HELD_TEXT)
                assert met
                assert reader.run_id == "waits-no-more"
            rough.redis_link.heal()
            await two.stop(chat_id, wait=5000)
            await other.rest()
        assert (await stream.rest()).outcome == "stopped"
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def test_a_message_sent_again_after_a_503_is_answered_once(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.default = Reply(tokens=20, pace=0.005)
    witnesses = [Witness(new_chat()) for _ in range(int(os.environ.get("SOAK_RETRIES", "12")))]

    async def insist(client: Client, witness: Witness) -> None:
        """Retry as a 503 asks for, with the same run id, until the message is accepted."""
        run_id = f"insisting-{witness.chat_id[-20:]}"
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            async with client.chat(witness.chat_id, "hello", run_id=run_id) as stream:
                if stream.status == 200:
                    rough.redis_link.drop_fraction = 0
                    witness.saw(stream, "hello")
                    assert (await stream.rest()).outcome == "done"
                    return
                assert (stream.status, stream.response.json()["code"]) == (503, "redis_unavailable")
        raise AssertionError("never accepted")

    async with rough.cluster.client() as client:
        for witness in witnesses:
            rough.redis_link.drop_fraction = 0.4
            await insist(client, witness)
    await assert_invariants(rough.cluster, witnesses, models=[rough.ollama])


async def test_links_cut_again_and_again_end_no_reply(rough: Rough, new_chat: Callable[[], str]) -> None:
    rough.ollama.default = Reply(tokens=200, pace=0.01)
    witnesses = [Witness(new_chat()) for _ in range(8)]

    async def talk(client: Client, witness: Witness) -> None:
        async with client.chat(witness.chat_id, "hello") as stream:
            witness.saw(stream, "hello")
            assert (await stream.rest()).outcome == "done"

    async with rough.cluster.client() as client:
        talking = [asyncio.create_task(talk(client, witness)) for witness in witnesses]
        await eventually(lambda: all(witness.accepted for witness in witnesses))
        while not all(task.done() for task in talking):
            rough.redis_link.cut()
            await asyncio.sleep(0.2)
        await asyncio.gather(*talking)
    await assert_invariants(rough.cluster, witnesses, models=[rough.ollama])


async def test_a_slow_redis_slows_no_stream(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = Reply(tokens=200, pace=0.01)
    rough.redis_link.delay = 0.1
    witness = Witness(chat_id)
    async with rough.cluster.client(1) as one, one.chat(chat_id, "hello") as stream:
        witness.saw(stream, "hello")
        assert ((await stream.rest()).outcome, stream.text) == ("done", rough.ollama.default.text)
    rough.redis_link.heal()
    await assert_invariants(rough.cluster, [witness], models=[rough.ollama])


async def test_a_redis_that_forgot_everything_is_no_reason_to_crash(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = Reply(tokens=100, pace=0.02)
    async with (
        rough.cluster.client(1) as one,
        rough.cluster.client(2) as two,
        connect(rough.redis.url) as redis,
    ):
        async with one.chat(chat_id, "hello") as stream:
            await stream.until_text("word5 ")
            await redis.flushall()
            await stream.rest()
            assert len(stream.terminals) == 1
        rough.ollama.default = Reply()
        assert (await two.ask(chat_id, "next")).outcome == "done"
    await assert_invariants(rough.cluster, models=[rough.ollama])


@pytest.mark.parametrize("ending", [False, True], ids=["in the middle", "at the end"])
async def test_a_log_that_lost_its_end_is_filled_up_again(rough: Rough, chat_id: str, ending: bool) -> None:
    rough.ollama.default = Reply(tokens=40, pace=0.02, fault="stall" if ending else None, fault_after=30)
    witness = Witness(chat_id)
    async with (
        rough.cluster.client(1) as one,
        rough.cluster.client(2) as two,
        connect(rough.redis.url) as redis,
    ):
        async with one.chat(chat_id, "hello") as stream:
            witness.saw(stream, "hello")
            await stream.until_text("word9 ")
            await forget_end(redis, f"chat:{{{chat_id}}}:events:{stream.run_id}", keep=4)
            if ending:  # nothing more comes but the end
                await stream.until_text("word29 ")
                await forget_end(redis, f"chat:{{{chat_id}}}:events:{stream.run_id}", keep=4)
                await two.stop(chat_id, wait=3000)
            await stream.rest()
        witness.saw(await two.replay(chat_id))
    await assert_invariants(rough.cluster, [witness], models=[rough.ollama])


async def forget_end(redis: Any, key: str, keep: int) -> None:
    """Takes the log back to its first entries, as a failover to a replica that lags does."""
    rows = await redis.xrange(key)
    async with redis.pipeline() as pipeline:
        pipeline.delete(key)
        for entry, fields in rows[:keep]:
            pipeline.xadd(key, fields, id=entry)
        await pipeline.execute()


async def refused_for_redis(client: Client, chat_id: str) -> None:
    """Without Redis a new message is refused in time, and health is red in time."""
    asked = time.monotonic()
    async with client.chat(chat_id, "refused") as refused:
        assert (refused.status, refused.response.json()["code"]) == (503, "redis_unavailable")
        assert int(refused.response.headers["Retry-After"]) >= 1
    assert time.monotonic() - asked < 5
    asked = time.monotonic()
    health = await client.http.get("/health")
    assert (health.status_code, health.json()["status"], health.json()["redis"]) == (
        503,
        "unhealthy",
        "disconnected",
    )
    assert time.monotonic() - asked < 3
