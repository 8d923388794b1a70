"""Nginx reloaded and killed, the model out of reach, and many visitors: nobody is cut off for good, nothing
is left.
"""

import asyncio
import os
import random
from collections.abc import Callable

import pytest

from tests.world.client import Client
from tests.world.fakes.reply import FLOWING, Reply
from tests.world.invariants import Witness, assert_invariants
from tests.world.rough import Rough, read_until_broken
from tests.world.waiting import eventually


async def test_a_reload_of_nginx_cuts_no_stream(rough: Rough, new_chat: Callable[[], str]) -> None:
    rough.ollama.default = Reply(tokens=150, pace=0.02)
    async with rough.cluster.client() as client:

        async def talk() -> tuple[str | None, str]:
            stream = await client.ask(new_chat(), "hello")
            return stream.outcome, stream.text

        talking = [asyncio.create_task(talk()) for _ in range(10)]
        await eventually(lambda: rough.ollama.open_streams == 10)
        for _ in range(3):
            rough.cluster.reload_nginx()
            assert (await client.http.get("/health")).status_code == 200
        assert await asyncio.gather(*talking) == [("done", rough.ollama.default.text)] * 10
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def test_after_a_death_of_nginx_readers_go_on_where_they_were(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = Reply(tokens=150, pace=0.02)
    witness = Witness(chat_id)
    async with rough.cluster.client() as client:
        async with client.chat(chat_id, "hello") as stream:
            witness.saw(stream, "hello")
            await stream.until_text("word9 ")
            await rough.cluster.nginx.end()
            await read_until_broken(stream)
        await rough.cluster.heal()
        again = await client.replay(chat_id, last_id=stream.last_id)
        witness.saw(again)
        assert stream.text + again.text == rough.ollama.default.text
    await assert_invariants(rough.cluster, [witness], models=[rough.ollama])


async def test_a_model_that_is_down_is_told_as_unavailable(rough: Rough, chat_id: str) -> None:
    rough.model_link.refuse = True
    rough.model_link.cut()
    async with rough.cluster.client() as client:
        stream = await client.ask(chat_id, "hello")
        assert (stream.outcome, stream.text) == ("failed", "")
        assert stream.end["error"]["code"] in {"model_unavailable", "model_error"}
        rough.model_link.heal()
        assert (await client.ask(chat_id, "again")).outcome == "done"
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def test_a_cut_link_to_the_model_keeps_what_was_said(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = FLOWING
    witness = Witness(chat_id)
    async with rough.cluster.client() as client, client.chat(chat_id, "hello") as stream:
        witness.saw(stream, "hello")
        await stream.until_text("word9 ")
        rough.model_link.cut()
        await stream.rest()
        assert stream.outcome == "failed"
        assert stream.end["error"]["code"] in {"model_error", "model_unavailable"}
    await assert_invariants(rough.cluster, [witness], models=[rough.ollama])


async def test_requests_given_up_in_the_middle_give_nobody_the_answer_of_another(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    chance = random.Random(int(os.environ.get("SOAK_SEED", "1")))
    chats = [new_chat() for _ in range(12)]
    async with rough.cluster.client(1) as client:
        for chat_id in chats:
            await client.ask(chat_id, f"canary of {chat_id}")
        rough.redis_link.delay = 0.01

        async def look(chat_id: str) -> None:
            assert (await client.messages(chat_id))[0]["content"] == f"canary of {chat_id}"

        async def give_up(chat_id: str) -> None:
            looking = asyncio.create_task(look(chat_id))
            await asyncio.wait([looking], timeout=chance.uniform(0, 0.05))
            looking.cancel()
            await asyncio.wait([looking])
            if not looking.cancelled():
                looking.result()

        for _ in range(int(os.environ.get("SOAK_GIVE_UP", "10"))):
            await asyncio.gather(
                *(give_up(chat_id) for chat_id in chats), *(look(chat_id) for chat_id in chats)
            )
    rough.redis_link.heal()
    await assert_invariants(rough.cluster, models=[rough.ollama])


@pytest.mark.soak
async def test_many_chats_leave_nothing_behind(rough: Rough, new_chat: Callable[[], str]) -> None:
    rough.ollama.default = Reply(tokens=20, pace=0.005)
    chance = random.Random(int(os.environ.get("SOAK_SEED", "1")))

    async def visit(client: Client) -> None:
        chat_id = new_chat()
        async with client.chat(chat_id, "hello") as stream:
            await stream.until_text("word1 ")
            match chance.choice(["stay", "stop", "leave"]):
                case "stay":
                    await stream.rest()
                case "stop":
                    await client.stop(chat_id)
                    await stream.rest()

    async def visits(count: int) -> None:
        async with rough.cluster.client() as client:
            for _ in range(count // 20):
                await asyncio.gather(*(visit(client) for _ in range(20)))
        await assert_invariants(rough.cluster, models=[rough.ollama])

    await visits(60)
    before = [belongings(program.pid) for program in rough.cluster.backends.values()]
    await visits(int(os.environ.get("SOAK_CHATS", "100")))
    after = [belongings(program.pid) for program in rough.cluster.backends.values()]
    for (threads, files), (threads_after, files_after) in zip(before, after, strict=True):
        assert threads_after <= threads + 1
        assert files_after <= files + 10


def belongings(pid: int) -> tuple[int, int]:
    """Threads and open files of a process."""
    return len(os.listdir(f"/proc/{pid}/task")), len(os.listdir(f"/proc/{pid}/fd"))
