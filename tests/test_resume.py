"""A reader may come back, from anywhere, and misses nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import redis.asyncio as redis

from tests.conftest import ollama_env
from tests.world.client import Client, Format
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.invariants import Witness, assert_invariants
from tests.world.sse import SseParser
from tests.world.waiting import eventually

SIXTY = Reply(tokens=[f"t{n}\n" for n in range(58)])  # with start and end: 60 events


@pytest.mark.parametrize("kind", ["text", "json"])
async def test_cut_at_every_event_and_resumed_elsewhere_the_text_is_the_same(
    cluster: Cluster, chat_id: str, ollama: FakeOllama, kind: Format
) -> None:
    ollama.default = SIXTY
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        whole = await one.ask(chat_id, "hello", kind=kind)
        assert whole.text == SIXTY.text
        for index, frame in enumerate(whole.frames):
            person = (two, three)[index % 2]
            rest = await person.replay(chat_id, kind=kind, last_id=frame.id)
            assert rest.frames == whole.frames[index + 1 :]
            assert (rest.status == 204) == (index == len(whole.frames) - 1)


@pytest.mark.parametrize("kind", ["text", "json"])
async def test_a_live_reply_goes_on_for_a_reader_who_returns(
    cluster: Cluster, chat_id: str, ollama: FakeOllama, kind: Format
) -> None:
    ollama.default = Reply(tokens=120, pace=0.02)
    witness = Witness(chat_id)
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        async with one.chat(chat_id, "hello", kind=kind) as stream:
            await stream.until_text("word5 ")
        frames = list(stream.frames)
        for person, part in ((two, "word20 "), (three, "word50 "), (one, "word70 ")):
            async with person.attach(chat_id, kind=kind, last_id=frames[-1].id) as again:
                await again.until(lambda s, part=part: part in s.text)  # type: ignore[misc]
            frames += again.frames
        async with two.attach(chat_id, kind=kind, after=frames[-1].id) as last:
            frames += (await last.rest()).frames
        whole = await three.replay(chat_id, kind=kind)
        assert frames == whole.frames
        assert (whole.text, whole.outcome) == (ollama.default.text, "done")
        witness.saw(whole, "hello")
    await assert_invariants(cluster, [witness], models=[ollama])


async def test_several_readers_on_several_backends_see_the_same(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=80, pace=0.01)
    async with (
        cluster.client(1) as one,
        cluster.client(2) as two,
        cluster.client(3) as three,
        one.chat(chat_id, "hello") as stream,
    ):
        readers = [asyncio.create_task(person.replay(chat_id)) for person in (one, two, three, two, three)]
        await stream.rest()
        seen = [await reader for reader in readers]
    assert all(reader.frames == stream.frames for reader in seen)


async def test_the_start_names_the_maker_and_the_header_who_answers(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    async with cluster.client(1) as one, cluster.client(2) as two:
        await one.ask(chat_id, "hello")
        replay = await two.replay(chat_id)
    assert replay.of("start")[0]["backend"] == "backend-1"
    assert replay.backend == "backend-2"
    assert replay.response.headers["Content-Type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    "last_id", ["nonsense", "other-run:3", ":", "{run}:", "{run}:-1", "{run}:x", "{run}:1:2", "{run}:٣"]
)
async def test_an_id_that_fits_nothing_starts_from_the_first_event(
    client: Client, chat_id: str, last_id: str
) -> None:
    whole = await client.ask(chat_id, "hello")
    last_id = last_id.replace("{run}", whole.run_id)
    if last_id.isascii():
        assert (await client.replay(chat_id, last_id=last_id)).frames == whole.frames
    async with client.attach(chat_id, after=last_id) as again:
        assert (await again.rest()).frames == whole.frames


async def test_nothing_to_send_is_204(client: Client, chat_id: str, new_chat: Callable[[], str]) -> None:
    whole = await client.ask(chat_id, "hello")
    assert (await client.replay(new_chat())).status == 204
    everything = await client.replay(chat_id, last_id=whole.last_id)
    assert (everything.status, everything.raw) == (204, b"")


async def test_a_reader_who_knows_everything_so_far_waits_for_the_rest(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    async with cluster.client(1) as one, cluster.client(2) as two, one.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        async with two.attach(chat_id, last_id=stream.last_id) as again:
            assert again.status == 200
            await one.stop(chat_id)
            assert [frame.event for frame in (await again.rest()).frames] == ["end"]
        await stream.rest()


async def test_an_attach_to_an_earlier_run_gets_the_rest_of_that_run(cluster: Cluster, chat_id: str) -> None:
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        first = await one.ask(chat_id, "first")
        second = await two.ask(chat_id, "second")
        for person in (one, two, three):
            for seen, frame in enumerate(first.frames, 1):
                rest = await person.replay(chat_id, last_id=frame.id)
                assert rest.frames == first.frames[seen:]
                assert rest.status == (200 if first.frames[seen:] else 204)
            newest = await person.replay(chat_id)
            assert (newest.run_id, newest.frames) == (second.run_id, second.frames)


async def test_an_earlier_run_is_replayed_while_another_is_going(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    async with cluster.client(1) as one, cluster.client(2) as two:
        first = await one.ask(chat_id, "first")
        ollama.default = HELD
        async with one.chat(chat_id, "second") as second:
            await second.until_text(HELD_TEXT)
            for person in (one, two):
                rest = await person.replay(chat_id, last_id=first.frames[0].id)
                assert rest.frames == first.frames[1:]
                assert (await person.replay(chat_id, last_id=first.last_id)).status == 204
            await one.stop(chat_id)
            await second.rest()


async def test_a_number_beyond_the_end_is_204(client: Client, chat_id: str) -> None:
    whole = await client.ask(chat_id, "hello")
    for number in (len(whole.frames), len(whole.frames) + 1, 10**6, 10**12):
        assert (await client.replay(chat_id, last_id=f"{whole.run_id}:{number}")).status == 204


async def test_a_reader_who_leaves_does_not_end_the_run(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=60, pace=0.02)
    async with cluster.client() as client:
        async with client.chat(chat_id, "hello") as stream:
            await stream.until_text("word2 ")

        async def stored() -> bool:
            return len(await client.messages(chat_id)) == 2

        await eventually(stored)
        reply = (await client.messages(chat_id))[-1]
    assert (reply["content"], reply["outcome"], reply["run_id"]) == (
        ollama.default.text,
        "done",
        stream.run_id,
    )
    await assert_invariants(cluster, models=[ollama])


NAMED: list[Callable[[str], dict[str, Any]]] = [
    lambda last_id: {"headers": {"Last-Event-ID": last_id}},
    lambda last_id: {"params": {"after": last_id}},
    lambda last_id: {"params": {"lastEventId": last_id}},
]


@pytest.mark.parametrize("named", NAMED, ids=["header", "after", "lastEventId"])
async def test_a_message_sent_again_behind_an_event_attaches_and_asks_nobody(
    cluster: Cluster, chat_id: str, ollama: FakeOllama, named: Callable[[str], dict[str, Any]]
) -> None:
    ollama.on(chat_id, HELD)
    async with cluster.client(1) as one, cluster.client(2) as two:

        async def again(last_id: str) -> httpx.Response:
            more = named(last_id)
            more["params"] = {"format": "json", **more.get("params", {})}
            return await two.http.post(f"/api/v1/chat/{chat_id}", json={"message": chat_id}, **more)

        async with one.chat(chat_id, chat_id) as stream:
            await stream.until_text(HELD_TEXT)
            seen = len(stream.frames)
            rest = asyncio.create_task(again(stream.frames[1].id))
            await one.stop(chat_id)
            await stream.rest()
        assert SseParser().feed((await rest).content) == stream.frames[2:]
        assert SseParser().feed((await again(stream.frames[seen - 1].id)).content) == stream.frames[seen:]
        assert (await again(stream.last_id)).status_code == 204
        assert len(ollama.of(chat_id)) == 1
        assert len(await two.messages(chat_id)) == 2


async def test_a_message_behind_an_event_of_a_run_whose_log_is_gone_asks_nobody(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    first = await client.ask(chat_id, "first")
    await client.ask(chat_id, "second")
    async with redis.from_url(cluster.redis_url) as store:
        await store.delete(f"chat:{{{chat_id}}}:events:{first.run_id}")
    asked = len(ollama.exchanges)
    answer = await client.http.post(
        f"/api/v1/chat/{chat_id}", json={"message": "first"}, headers={"Last-Event-ID": first.frames[0].id}
    )
    assert (answer.status_code, len(ollama.exchanges)) == (204, asked)


async def test_a_message_behind_an_event_of_no_run_of_the_chat_is_asked(
    client: Client, chat_id: str, new_chat: Callable[[], str]
) -> None:
    elsewhere = await client.ask(new_chat(), "hello")
    for last_id in (elsewhere.last_id, "nonsense"):
        answer = await client.http.post(
            f"/api/v1/chat/{chat_id}", json={"message": "hello"}, headers={"Last-Event-ID": last_id}
        )
        assert answer.text.endswith("data: [DONE]\n\n")


@pytest.fixture(scope="module")
async def short_graces(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    """Two backends that end a run without readers after one second, and one that does so at once."""
    where = tmp_path_factory.mktemp("graces")
    env = {**ollama_env(the_ollama), "DISCONNECT_GRACE_SECONDS": "1"}
    async with Cluster(where, redis_url, env=env, env_of={3: {"DISCONNECT_GRACE_SECONDS": "0"}}) as cluster:
        yield cluster


@pytest.mark.parametrize("backend", [1, 3], ids=["after the grace", "at once"])
async def test_a_run_nobody_reads_is_stopped_and_its_part_kept(
    short_graces: Cluster, chat_id: str, ollama: FakeOllama, backend: int
) -> None:
    ollama.default = FLOWING
    async with short_graces.client(backend) as client:
        async with client.chat(chat_id, "hello") as stream:
            await stream.until_text("word2 ")
        await eventually(lambda: ollama.open_streams == 0)
        replay = await client.replay(chat_id)
        assert replay.outcome == "stopped"
        kept = (await client.messages(chat_id))[-1]
    assert kept["outcome"] == "stopped"
    assert kept["content"] == replay.text
    assert kept["content"].startswith(stream.text)
    await assert_invariants(short_graces, models=[ollama])


async def test_a_reader_on_another_backend_keeps_the_run_alive(
    short_graces: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=150, pace=0.02)
    async with short_graces.client(1) as one, short_graces.client(2) as two:
        async with one.chat(chat_id, "hello") as stream:
            await stream.until_text("word2 ")
            reader = asyncio.create_task(two.replay(chat_id))
            await stream.until_text("word10 ")
        replay = await reader
    assert (replay.outcome, replay.text) == ("done", ollama.default.text)


async def test_a_reader_who_takes_nothing_hurts_nobody(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=["x" * 4000] * 240)
    ollama.on("other", Reply())
    async with (
        cluster.client(1) as one,
        cluster.client(1) as stuck,
        cluster.client(2) as two,
        stuck.chat(chat_id, "hello") as unread,
    ):
        assert unread.status == 200
        whole = await two.replay(chat_id)
        assert (whole.outcome, len(whole.text)) == ("done", 960_000)
        assert (await one.ask(f"{chat_id}-other", "other")).outcome == "done"
