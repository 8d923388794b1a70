"""Backends that are killed, frozen, drained and restarted: what they were saying is not lost."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from signal import SIGTERM

import httpx

from tests.world.client import Client
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.invariants import Witness, assert_invariants
from tests.world.rough import Rough, read_until_broken
from tests.world.waiting import eventually

SETTLED_SECONDS = 20  # 15 of the contract, and a busy machine


async def test_a_killed_backend_loses_nothing_but_the_rest_of_its_replies(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.on("short", Reply(tokens=300, pace=0.02))
    chance = random.Random(int(os.environ.get("SOAK_SEED", "1")))
    for _ in range(int(os.environ.get("SOAK_KILLS", "1"))):
        rough.ollama.default = FLOWING
        lost, elsewhere = Witness(new_chat()), Witness(new_chat())
        async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:
            async with (
                one.chat(lost.chat_id, "hello") as stream,
                two.chat(elsewhere.chat_id, "short") as other,
            ):
                lost.saw(stream, "hello")
                elsewhere.saw(other, "short")
                await stream.until_text(f"word{chance.randrange(1, 60)} ")
                await rough.cluster.kill(1)
                killed = time.monotonic()
                await read_until_broken(stream)
                again = await two.replay(lost.chat_id)
                lost.saw(again)
                assert (again.outcome, again.end["error"]["code"]) == ("failed", "backend_lost")
                assert time.monotonic() - killed < SETTLED_SECONDS
                resumed = await two.replay(lost.chat_id, last_id=stream.last_id)
                assert [frame.event for frame in resumed.frames][-1:] == ["end"]
                assert again.frames[: len(stream.frames)] == stream.frames, "seen, but not kept"
                kept = (await two.messages(lost.chat_id))[-1]
                assert (kept["content"], kept["outcome"]) == (again.text, "failed")
                assert (await other.rest()).outcome == "done"
            rough.ollama.default = Reply()
            assert (await two.ask(lost.chat_id, "next")).outcome == "done"
        await rough.cluster.start_again(1)
        await assert_invariants(rough.cluster, [lost, elsewhere], models=[rough.ollama])


async def test_a_stop_settles_the_run_of_a_dead_backend(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = HELD
    witness = Witness(chat_id)
    async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:
        async with one.chat(chat_id, "hello") as stream:
            witness.saw(stream, "hello")
            await stream.until_text(HELD_TEXT)
            await text_in_log(two, chat_id, HELD_TEXT)
            await rough.cluster.kill(1)
            answer = await two.stop(chat_id, wait=5000)
            assert (answer["result"], answer["backend"], answer["run_id"]) == (
                "owner_lost",
                "backend-1",
                stream.run_id,
            )
            await read_until_broken(stream)
        kept = (await two.messages(chat_id))[-1]
        assert (kept["content"], kept["outcome"]) == (HELD_TEXT, "failed")
        rough.ollama.default = Reply()
        assert (await two.ask(chat_id, "next")).outcome == "done"
    await rough.heal()
    await assert_invariants(rough.cluster, [witness], models=[rough.ollama])


async def test_a_frozen_backend_that_thaws_writes_nothing_over_the_new_run(
    rough: Rough, chat_id: str
) -> None:
    rough.ollama.on("first", FLOWING)
    witness = Witness(chat_id)
    async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:
        async with one.chat(chat_id, "first") as stream:
            witness.saw(stream, "first")
            await stream.until_text("word9 ")
            rough.cluster.freeze(1)
            assert (await two.stop(chat_id, wait=5000))["result"] == "owner_lost"
            beyond = await two.replay(
                chat_id, last_id=f"{stream.run_id}:9999"
            )  # shown, and not in the log yet
            assert [frame.event for frame in beyond.frames] == ["end"]
            second = await two.ask(chat_id, "second")
            witness.saw(second, "second")
            before = await two.messages(chat_id)
            rough.cluster.thaw(1)
            await stream.rest()
            assert stream.outcome != "done"
        await eventually(lambda: rough.ollama.open_streams == 0, within=SETTLED_SECONDS)
        assert await two.messages(chat_id) == before
    await assert_invariants(rough.cluster, [witness], models=[rough.ollama])


async def test_a_stop_that_meets_a_frozen_backend_goes_on_to_another(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = FLOWING
    async with (
        rough.cluster.client() as nginx,
        rough.cluster.client(2) as two,
        two.chat(chat_id, "hello") as stream,
    ):
        await stream.until_text("word9 ")
        rough.cluster.freeze(1)
        async with asyncio.timeout(30):
            results = [(await nginx.stop(chat_id, wait=1000))["result"] for _ in rough.cluster.numbers]
        rough.cluster.thaw(1)
        await stream.rest()
    assert "stopped" in results
    assert set(results) <= {"stopped", "already_finished", "pending"}
    assert stream.outcome == "stopped"


async def test_a_backend_that_drains_lets_replies_end_and_cuts_the_rest(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.on("short", Reply(tokens=60, pace=0.02))
    rough.ollama.on("long", FLOWING)
    short, long = Witness(new_chat()), Witness(new_chat())
    async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:
        async with one.chat(short.chat_id, "short") as ends, one.chat(long.chat_id, "long") as cut:
            short.saw(ends, "short")
            long.saw(cut, "long")
            await asyncio.gather(ends.until_text("word2 "), cut.until_text("word2 "))
            rough.cluster.signal(1, SIGTERM)
            await eventually(lambda: refuses(rough.cluster.url_of(1)))
            await asyncio.gather(ends.rest(), cut.rest())
            assert (ends.outcome, ends.text) == ("done", "".join(f"word{n} " for n in range(60)))
            assert (cut.outcome, cut.end["error"]["code"]) == ("failed", "draining")
        assert await rough.cluster.backends[1].wait(3 + 5 + 2) == 0
        assert (await two.messages(long.chat_id))[-1]["content"] == cut.text
        rough.ollama.default = Reply()
        assert (await two.ask(long.chat_id, "next")).outcome == "done"
    await rough.heal()
    await assert_invariants(rough.cluster, [short, long], models=[rough.ollama])


async def test_a_second_signal_ends_a_draining_backend_at_once(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = HELD
    async with rough.cluster.client(1) as one, one.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        rough.cluster.signal(1, SIGTERM)
        await eventually(lambda: refuses(rough.cluster.url_of(1)))
        rough.cluster.signal(1, SIGTERM)
        asked = time.monotonic()
        assert (await stream.rest()).outcome == "failed"
        await rough.cluster.backends[1].wait()
        assert time.monotonic() - asked < 3
    await rough.heal()
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def test_a_rolling_restart_loses_no_text_and_refuses_nobody_for_good(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    count = int(os.environ.get("SOAK_ROLLING", "9"))
    rough.ollama.default = Reply(tokens=400, pace=0.02)
    rough.ollama.on("quick", Reply(tokens=3))
    witnesses = [Witness(new_chat()) for _ in range(count)]
    restarting = True

    async def talk(witness: Witness) -> None:
        async with rough.cluster.client() as client:
            async with client.chat(witness.chat_id, "hello") as stream:
                assert stream.status == 200, stream.response.text
                witness.saw(stream, "hello")
                await read_until_broken(stream)
            while not stream.outcome:
                last = stream.last_id
                async with client.attach(witness.chat_id, last_id=last) as stream:
                    witness.saw(stream)
                    await read_until_broken(stream)

    async def newcomers() -> int:
        n = 0
        async with rough.cluster.client() as client:
            while restarting:
                async with client.chat(new_chat(), "quick") as stream:
                    assert stream.status in {200, 503}, stream.response.text
                    if stream.status == 503:
                        assert stream.response.json()["code"] == "draining"
                        continue
                    n += 1
                    await stream.rest()
                    assert stream.outcome == "done" or stream.end["error"]["code"] == "draining"
        return n

    talking = [asyncio.create_task(talk(witness)) for witness in witnesses]
    coming = asyncio.create_task(newcomers())
    await eventually(lambda: all(witness.accepted for witness in witnesses))
    for n in rough.cluster.numbers:
        rough.cluster.signal(n, SIGTERM)
        assert await rough.cluster.backends[n].wait(10) == 0
        await rough.cluster.start_again(n)
    restarting = False
    assert await coming > 0
    await asyncio.gather(*talking)
    await assert_invariants(rough.cluster, witnesses, models=[rough.ollama])
    async with rough.cluster.client() as client:
        for witness in witnesses:
            seen = "".join(stream.text for streams in witness.streams.values() for stream in streams)
            assert seen == (await client.messages(witness.chat_id))[-1]["content"]


async def text_in_log(client: Client, chat_id: str, text: str) -> None:
    """Wait until another backend could replay this text."""
    async with client.attach(chat_id) as reader:
        await reader.until_text(text)


async def refuses(url: str) -> bool:
    """Whether nobody listens there."""
    async with httpx.AsyncClient() as client:
        try:
            await client.get(f"{url}/health/live")
        except httpx.ConnectError:
            return True
        except httpx.HTTPError:
            return False
    return False
