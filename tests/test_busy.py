"""One run per chat at a time, on however many backends the messages arrive."""

import asyncio
import functools
import os
from collections.abc import Callable
from typing import Any

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.invariants import Witness, assert_invariants
from tests.world.waiting import eventually


def all_but_one_done(tasks: list["asyncio.Task[tuple[int, Any]]"]) -> bool:
    return sum(task.done() for task in tasks) >= len(tasks) - 1


async def test_a_second_message_is_refused_while_one_runs(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    witness = Witness(chat_id)
    async with cluster.client(1) as owner, cluster.client(3) as other:
        async with owner.chat(chat_id, "first") as stream:
            witness.saw(stream, "first")
            await stream.until_text(HELD_TEXT)
            for person in (owner, other):
                async with person.chat(chat_id, "second") as refused:
                    problem = refused.response.json()
                    assert (refused.status, problem["code"]) == (409, "chat_busy")
                    assert (problem["run_id"], problem["backend"]) == (stream.run_id, "backend-1")
            await other.stop(chat_id, wait=5000)
            await stream.rest()
        assert [m["content"] for m in await other.messages(chat_id)] == ["first", HELD_TEXT]
    assert not ollama.of("second")
    await assert_invariants(cluster, [witness], models=[ollama])


async def test_replace_stops_the_running_reply_and_keeps_its_part(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", HELD)
    witness = Witness(chat_id)
    async with cluster.client(1) as owner, cluster.client(2) as other, owner.chat(chat_id, "first") as stream:
        witness.saw(stream, "first")
        await stream.until_text(HELD_TEXT)
        second = await other.ask(chat_id, "second", on_busy="replace")
        witness.saw(second, "second")
        assert second.outcome == "done"
        assert (await stream.rest()).outcome == "stopped"
        kept = [(m["content"], m.get("outcome")) for m in await other.messages(chat_id)]
        assert [content for content, _ in kept] == ["first", HELD_TEXT, "second", Reply().text]
        assert kept[1][1] == "stopped"
    await assert_invariants(cluster, [witness], models=[ollama])


async def test_the_same_run_id_joins_the_run_and_never_starts_another(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=40, pace=0.02)
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        running, joined, again = await asyncio.gather(
            *(person.ask(chat_id, "hello", run_id="same-run-id") for person in (one, two, three))
        )
        late = await two.ask(chat_id, "hello", run_id="same-run-id")
        for stream in (joined, again, late):
            assert (stream.text, stream.outcome) == (running.text, "done")
        assert len(ollama.of("hello")) == 1
        async with three.chat(chat_id, "something else", run_id="same-run-id") as refused:
            assert (refused.status, refused.response.json()["code"]) == (409, "run_id_used")
        assert len(await one.messages(chat_id)) == 2


async def test_of_many_messages_at_once_one_runs_and_the_others_hear_which(
    cluster: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    ollama.default = HELD
    for _ in range(int(os.environ.get("SOAK_PARALLEL", "3"))):
        chat_id = new_chat()
        async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:

            async def send(person: Client, n: int, chat_id: str = chat_id) -> tuple[int, Any]:
                async with person.chat(chat_id, f"message {n}") as stream:
                    if stream.status == 200:
                        await stream.rest()
                        return 200, stream.run_id
                    return stream.status, str(stream.response.json()["run_id"])

            people = [(one, two, three)[n % 3] for n in range(20)]
            sending = [asyncio.create_task(send(person, n)) for n, person in enumerate(people)]
            await eventually(functools.partial(all_but_one_done, sending))
            assert (await one.stop(chat_id, wait=5000))["result"] == "stopped"
            answers = await asyncio.gather(*sending)
            assert sorted(status for status, _ in answers) == [200] + [409] * 19
            assert len({run_id for _, run_id in answers}) == 1
            assert [m["role"] for m in await one.messages(chat_id)] == ["user", "assistant"]
    await assert_invariants(cluster, models=[ollama])


async def test_a_message_right_after_the_terminal_frame_is_never_busy(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=2)
    for n in range(20):
        assert (await client.ask(chat_id, f"message {n}")).outcome == "done"


async def test_of_many_replacements_at_once_one_goes_on_and_nothing_is_mixed(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    witness = Witness(chat_id)
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:

        async def send(person: Client, n: int) -> tuple[int, str | None]:
            async with person.chat(chat_id, f"message {n}", on_busy="replace") as stream:
                if stream.status == 200:
                    witness.saw(stream, f"message {n}")
                    await stream.rest()
                return stream.status, stream.outcome

        sending = [asyncio.create_task(send((one, two, three)[n % 3], n)) for n in range(9)]

        async def over() -> bool:
            if all_but_one_done(sending):
                await one.stop(chat_id, wait=1000)
            return all(task.done() for task in sending)

        await eventually(over, within=30, every=0.1)
        answers = [task.result() for task in sending]
        assert {status for status, _ in answers} <= {200, 409}
        assert {outcome for status, outcome in answers if status == 200} == {"stopped"}
        assert (await one.messages(chat_id))[0]["role"] == "user"
    await assert_invariants(cluster, [witness], models=[ollama])
