"""What is started at one door is listed, read, resumed and stopped at every other, through other backends."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio as redis

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.doors import DOORS, Asked, asked, frames, run_of
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Reply, ToolCall
from tests.world.invariants import assert_invariants
from tests.world.sse import Frame
from tests.world.waiting import eventually

READERS: dict[str, tuple[str, dict[str, str]]] = {
    "text": ("/api/v1/chat/{chat}/events", {}),
    "json": ("/api/v1/chat/{chat}/events", {"format": "json"}),
    "ag-ui": ("/api/v1/chat/{chat}/events", {"format": "ag-ui"}),
    "responses": ("/v1/responses/resp_{run}", {"stream": "true", "starting_after": "0"}),
}
LAST = {
    "text": "[STOPPED]",
    "json": '"outcome": "stopped"',
    "ag-ui": '"type": "cancelled"',
    "responses": "response.cancelled",
}


class Held:
    """A run that says three words and is silent, asked for at some door."""

    def __init__(self, cluster: Cluster, chat_id: str, run_id: str, one: Asked, elsewhere: Client) -> None:
        self.cluster = cluster
        self.chat_id = chat_id
        self.run_id = run_id
        self.asked = one
        self.elsewhere = elsewhere


async def by_stop(run: Held) -> None:
    assert (await run.elsewhere.stop(run.chat_id, wait=5000))["result"] == "stopped"


async def by_stop_of_the_run(run: Held) -> None:
    assert (await run.elsewhere.stop(run.chat_id, wait=5000, run_id=run.run_id))["result"] == "stopped"


async def by_bulk(run: Held) -> None:
    answer = await run.elsewhere.http.post(
        "/api/v1/stop/bulk", params={"wait": 5000}, json={"chat_ids": [run.chat_id]}
    )
    assert answer.json()["results"][0]["result"] == "stopped"


async def by_cancel(run: Held) -> None:
    for _ in range(2):  # again, it tells the same
        answer = await run.elsewhere.http.post(f"/v1/responses/resp_{run.run_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled"), answer.text


async def by_foreign_key(run: Held) -> None:
    async with redis.from_url(run.cluster.redis_url) as store:
        await store.set(f"stop:{run.chat_id}", str(int(time.time())), ex=60)


async def by_hanging_up(run: Held) -> None:
    if run.asked.door.leaving_ends:
        await run.asked.hang_up()
    else:
        await by_stop(run)


Stop = Callable[[Held], Awaitable[None]]
STOPS: list[Stop] = [by_stop, by_stop_of_the_run, by_bulk, by_cancel, by_foreign_key, by_hanging_up]


@pytest.mark.parametrize("stop", STOPS)
async def test_what_is_started_at_each_door_is_read_and_stopped_at_every_other(
    cluster: Cluster, ollama: FakeOllama, new_chat: Callable[[], str], stop: Stop
) -> None:
    async with asyncio.TaskGroup() as all_doors:
        for name in DOORS:
            one = _from_start_to_stop(cluster, ollama, name, new_chat(), stop)
            all_doors.create_task(one, name=name)
    await assert_invariants(cluster, models=[ollama])


async def _from_start_to_stop(
    cluster: Cluster, ollama: FakeOllama, name: str, chat_id: str, stop: Stop
) -> None:
    mark = f"{chat_id}."  # no other one begins with it
    ollama.on(mark, HELD)
    async with (
        cluster.client(1) as one,
        cluster.client(2) as two,
        cluster.client(3) as three,
        asked(one, name, chat_id, mark) as begun,
    ):
        run_id = await run_of(two, chat_id)
        if begun.door.streams:
            await begun.until(b"word2")
            assert begun.headers["x-run-id"] == run_id, name
        url = f"/v1/responses/resp_{run_id}"

        async def said() -> bool:
            return HELD_TEXT in (await three.http.get(url)).text

        await eventually(said, within=60)
        assert (await three.get(url))["status"] == "in_progress", name
        live = {
            kind: asyncio.create_task(_read((two, three)[n % 2], kind, chat_id, run_id))
            for n, kind in enumerate(READERS)
        }
        await stop(Held(cluster, chat_id, run_id, begun, two))
        read = {kind: await task for kind, task in live.items()}
        for n, (kind, raw) in enumerate(read.items()):
            assert LAST[kind].encode() in raw, (name, kind, raw)
            assert frames(raw)
            assert raw.count(b"word2") == raw.count(b"word0"), (name, kind)
            again = await _read((one, two)[n % 2], kind, chat_id, run_id)
            assert frames(again) == frames(raw), (name, kind)
        if stop is not by_hanging_up:
            expected = "begun" if name == "responses, background" else "stopped"
            assert await begun.rest() == expected, name
        kept = await three.messages(chat_id)
        assert [(m["content"], m.get("outcome")) for m in kept] == [(mark, None), (HELD_TEXT, "stopped")]
        assert (await three.get(url))["status"] == "cancelled", name
    assert all(exchange.left_at for exchange in ollama.of(mark)), name


async def _read(client: Client, kind: str, chat_id: str, run_id: str) -> bytes:
    path, params = READERS[kind]
    answer = await client.http.get(path.format(chat=chat_id, run=run_id), params=params, timeout=60)
    assert answer.status_code == 200, (kind, answer.text)
    return answer.content


async def test_a_run_that_nobody_has_is_no_response(client: Client, chat_id: str) -> None:
    ended = (await client.ask(chat_id, "hello")).run_id
    for gone in (ended, "run-nobody-has"):
        assert (await client.http.get(f"/v1/responses/resp_{gone}")).status_code == 404
        assert (await client.http.post(f"/v1/responses/resp_{gone}/cancel")).status_code == 404


RESUMED: dict[str, tuple[str, Callable[[Frame], dict[str, str]]]] = {
    "json": ("native, json", lambda frame: {"format": "json", "after": frame.id}),
    "ag-ui": ("ag-ui", lambda frame: {"format": "ag-ui", "after": frame.id}),
    "responses": (
        "responses, streamed",
        lambda frame: {"stream": "true", "starting_after": str(frame.json["sequence_number"])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RESUMED)
async def test_a_reader_that_was_cut_at_any_event_of_a_live_run_goes_on_elsewhere_equal_event_by_event(
    cluster: Cluster, ollama: FakeOllama, chat_id: str, kind: str
) -> None:
    name, behind = RESUMED[kind]
    used = ToolCall("calculate", {"expression": "1+1"})
    tokens = ["a", "b\n", "last"]
    ollama.on(chat_id, Reply(tokens, ("hm",), used, 0.05, fault="stall", fault_after=3))
    async with (
        cluster.client(1) as one,
        cluster.client(2) as two,
        cluster.client(3) as three,
        asked(one, name, chat_id, chat_id, agent="analyst") as begun,
    ):
        run_id = await run_of(two, chat_id)
        await eventually(lambda: b"last" in begun.raw, within=60)
        found = frames(begun.raw)
        ids = [frame.id for frame in found]  # of several of one event only the last has it
        seen = [
            frame for n, frame in enumerate(found) if kind == "responses" or frame.id not in ["", *ids[:n]]
        ]
        url = READERS[kind][0].format(chat=chat_id, run=run_id)
        raws = [bytearray() for _ in seen]
        resuming = [
            asyncio.create_task(_resume((two, three)[n % 2], url, behind(frame), raws[n]))
            for n, frame in enumerate(seen)
        ]
        await eventually(lambda: all(raws), within=60)
        assert (await two.stop(chat_id, wait=5000))["result"] == "stopped"
        assert await begun.rest() == "stopped"
        whole = frames(begun.raw)
        await asyncio.gather(*resuming)
        for frame, raw in zip(seen, raws, strict=True):
            rest = whole[whole.index(frame) + 1 :]
            assert [(one.event, one.data) for one in frames(bytes(raw))] == [
                (one.event, one.data) for one in rest
            ], frame


async def _resume(client: Client, url: str, params: dict[str, str], raw: bytearray) -> None:
    async with client.http.stream("GET", url, params=params, timeout=60) as response:
        assert response.status_code == 200
        async for piece in response.aiter_raw():
            raw += piece
