"""What stands in Redis, and answers that are lost there, harm only themselves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from app.chat.settle import Settler
from app.chat.stop import Stopping
from app.clock import TAKEN_SECONDS
from app.events import End, Start, Text, Usage
from app.runs.metrics import Metrics
from app.settings import Settings
from app.store.asked import Asked
from app.store.commands import hold
from app.store.eventlog import News
from app.store.keys import Chat
from app.store.records import LastWords, LiveRun, Message, RunRecord, Started
from app.store.shelf import unlist
from app.store.store import Store
from app.store.waiting import Waiting
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Reply
from tests.world.waiting import eventually

GARBAGE = [b"not json", b"\xff\xfe\x00", b"[]", b"{}", b"null", b'{"role": 1}', b"1 x {", b"9" * 400]


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    async with Store(Settings.model_validate({"redis_url": redis_url})) as store:
        yield store


def a_run(store: Store, run_id: str, attempt: str = "a1") -> LiveRun:
    return LiveRun(run_id, 0, "general", "demo", "demo", "backend-x", store.leases.process, attempt)


def connected(url: str) -> Any:
    """A client of Redis; its stubs know too many shapes of an answer to help here."""
    return Redis.from_url(url)


async def whole(redis: Any, chat: Chat) -> dict[str, Any]:
    """Everything kept of a chat, without the lives of its keys."""
    found: dict[str, Any] = {}
    for key in sorted([str(key, "utf-8") async for key in redis.scan_iter(f"chat:{{{chat.name}}}*")]):
        match str(await redis.type(key), "utf-8"):
            case "hash":
                found[key] = await redis.hgetall(key)
            case "list":
                found[key] = await redis.lrange(key, 0, -1)
            case "zset":
                found[key] = await redis.zrange(key, 0, -1, withscores=True)
            case "stream":
                found[key] = await redis.xrange(key)
    found["index"] = await redis.zscore("chats", chat.id) is not None
    return found


async def turn(store: Store, chat: Chat, run_id: str, question: str, replaces: str | None = None) -> None:
    run = a_run(store, run_id, run_id)
    met, _ = await store.memory.start(chat, run, Asked(question, "d", replaces), [hold(chat, run)])
    assert isinstance(met, Started)
    start = Start(run_id, chat.id, "general", "demo", "demo", "backend-x", "now")
    end = End("done", "end_turn", Usage(1, 1, True), 1)
    reply = Message("assistant", f"answer to {question}", 0, run_id, "done", {})
    words = LastWords(reply, [start, Text(f"answer to {question}"), end], 1)
    assert (await store.memory.end(chat, run, store.leases.process, words)).answer == "ended"


ONE, TWO = Message("user", "question 1"), Message("assistant", "answer to question 1")
OTHER, EDITED = Message("user", "other"), Message("assistant", "edited")
ASKED = (None, "run-00001", "run-00002", "run-00003")
BROUGHT: list[Any] = [(), (ONE, TWO), (OTHER,), (ONE, EDITED), (ONE, TWO, TWO)]


@pytest.mark.parametrize(
    ("replaces", "turns"),
    [
        *((one, None) for one in (None, "run-00001", "run-00002", "run-00003")),
        *((None, one) for one in BROUGHT),
    ],
)
async def test_a_start_that_is_taken_back_gives_everything_back(
    store: Store, redis_url: str, chat_id: str, replaces: str | None, turns: Any
) -> None:
    chat = Chat("", chat_id)
    async with connected(redis_url) as redis:
        for n in (1, 2, 3):
            await turn(store, chat, f"run-0000{n}", f"question {n}")
        before = await whole(redis, chat)
        for attempt in ("b1", "b2"):
            run = a_run(store, "run-new01", attempt)
            for _ in range(2):  # its answer is lost, and it is asked again
                met, _ = await store.memory.start(chat, run, Asked("new", "d", replaces, turns), [])
                assert isinstance(met, Started)
            for _ in range(2):
                await store.memory.undo(chat, run, Asked("new", "d", None))
            after = await whole(redis, chat)
            for found in (before, after):  # a counter may go on: a version's number is never used twice
                found[chat.key].pop(b"version", None)
            assert after == before


async def test_a_start_in_a_new_chat_that_is_taken_back_leaves_nothing(
    store: Store, redis_url: str, chat_id: str
) -> None:
    chat = Chat("", chat_id)
    run = a_run(store, "run-new01")
    await store.memory.start(chat, run, Asked("new", "d", None), [])
    await store.memory.undo(chat, run, Asked("new", "d", None))
    async with connected(redis_url) as redis:
        assert await whole(redis, chat) == {"index": False}


def waits(run_id: str, text: str, line: Any = "last") -> Asked:
    return Asked(text, "d", line=line, waiting=Waiting(run_id, text).kept())


async def test_a_refused_message_does_not_wait_and_an_accepted_one_does(
    store: Store, redis_url: str, chat_id: str
) -> None:
    chat = Chat("", chat_id)
    live, one, again = (
        a_run(store, "run-live1"),
        a_run(store, "run-wait1", "b1"),
        a_run(store, "run-wait1", "b2"),
    )
    await store.memory.start(chat, live, Asked("first", "d"), [])
    async with connected(redis_url) as redis:
        before = await whole(redis, chat)
        asked = waits("run-wait1", "second")
        for _ in range(2):
            met, _ = await store.memory.start(chat, one, asked, [])
            assert isinstance(met, Waiting)
        await store.memory.undo(chat, one, asked)  # its answer was lost
        assert await whole(redis, chat) == before
    await store.memory.start(chat, one, asked, [])
    met, _ = await store.memory.start(chat, again, asked, [])  # sent again, before the first is taken back
    assert isinstance(met, Waiting)
    await store.memory.undo(chat, one, asked)
    await store.memory.undo(chat, again, asked)
    assert [w.text for w in (await store.memory.read(chat)).queued] == ["second"]


async def test_a_message_that_waited_and_was_stopped_before_its_start_was_taken_back_stays_stopped(
    store: Store, chat_id: str
) -> None:
    chat = Chat("", chat_id)
    await turn(store, chat, "run-00001", "first")
    live = a_run(store, "run-live1")
    await store.memory.start(chat, live, Asked("second", "d"), [])
    await store.memory.start(chat, a_run(store, "run-wait1", "b1"), waits("run-wait1", "third"), [])
    reply = Message("assistant", "so", 0, "run-live1", "done", {})
    await store.memory.end(chat, live, "p", LastWords(reply, [Start(*["x"] * 7)], 1))
    called = waits("run-wait1", "third", "head")
    met, _ = await store.memory.start(chat, a_run(store, "run-wait1", "b2"), called, [])
    assert isinstance(met, Started)
    assert not met.stop_at_birth
    assert (await store.stops.request(chat, None)).run_id == "run-wait1"
    await store.memory.undo(chat, a_run(store, "run-wait1", "b2"), called)
    met, _ = await store.memory.start(chat, a_run(store, "run-wait1", "b3"), called, [])
    assert isinstance(met, Started)
    assert met.stop_at_birth


async def test_a_deletion_whose_answer_was_lost_is_told_again(store: Store, chat_id: str) -> None:
    chat = Chat("", chat_id)
    await turn(store, chat, "run-00001", "first")
    deletion = store.shelf._deletion(chat)
    assert await store.redis.do_all([deletion, deletion]) == [b"deleted"] * 2
    assert await store.shelf.delete(chat) == "unknown"


async def test_a_chat_that_begins_while_another_start_is_taken_back_stays_listed(
    store: Store, chat_id: str
) -> None:
    chat = Chat("", chat_id)
    run = a_run(store, "run-new01")
    await store.memory.start(chat, run, Asked("new", "d"), [])
    await unlist(store.redis, chat.owner, [chat.id])
    listed, _ = await store.shelf.listed(chat.owner, 200, 0)
    assert chat_id in [row[0] for row in listed]
    await store.memory.undo(chat, run, Asked("new", "d"))
    listed, _ = await store.shelf.listed(chat.owner, 200, 0)
    assert chat_id not in [row[0] for row in listed]


async def test_a_replaced_question_is_kept_as_a_version_and_an_ending_twice_is_one(
    store: Store, redis_url: str, chat_id: str
) -> None:
    chat = Chat("", chat_id)
    for n in (1, 2):
        await turn(store, chat, f"run-0000{n}", f"question {n}")
    await turn(store, chat, "run-00003", "another", replaces="run-00001")
    messages = (await store.memory.read(chat)).messages
    assert [message.content for message in messages] == ["another", "answer to another"]
    run = a_run(store, "run-00003", "run-00003")
    words = LastWords(Message("assistant", "twice", 0, "run-00003", "done", {}), [], 9)
    assert (await store.memory.end(chat, run, store.leases.process, words)).answer == "ended"
    assert len((await store.memory.read(chat)).messages) == 2
    async with connected(redis_url) as redis:
        assert b"question 2" in (await redis.lrange(f"{chat.versions}:1", 0, -1))[2]


async def test_an_ending_lets_go_of_its_run_and_one_that_found_it_moving_on_does_not(
    store: Store, chat_id: str
) -> None:
    chat, run = Chat("", chat_id), a_run(store, "run-00001")
    await store.memory.start(chat, run, Asked("hello", "d"), [hold(chat, run)])
    await store.memory.start(chat, a_run(store, "run-wait1", "b1"), waits("run-wait1", "next"), [])
    await store.stops.request(chat, "run-00001")
    reply = Message("assistant", "so", 0, "run-00001", "stopped", {})
    for expected, answer in ((7, "moved"), (None, "ended")):
        words = LastWords(reply, [Start(*["x"] * 7)], 1, expected)
        held = [one.run_id for one in await store.leases.held(store.leases.process)]
        assert held == ["run-00001"]
        assert await store.stops.pending([chat]) == ["run-00001"]
        written = await store.memory.end(chat, run, store.leases.process, words)
        assert written.answer == answer
    assert await store.leases.held(store.leases.process) == []
    assert await store.stops.pending([chat]) == [None]


@pytest.mark.parametrize("seconds", [0.0, 1.7])
async def test_who_was_held_up_itself_does_not_settle_a_reply_that_may_be_held_up(
    store: Store, chat_id: str, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """A look that takes longer than a stop waits, and an ending that comes a little later."""
    chat, run = Chat("", chat_id), a_run(store, "run-00001")
    await store.redis.do(store.leases.renewal())
    await store.memory.start(chat, run, Asked("hello", "d"), [hold(chat, run)])
    opening = Start("run-00001", chat.id, "general", "demo", "demo", "backend-x", "now")
    await store.log.append([News(chat, "run-00001", [opening], 1)])
    metrics = Metrics(Settings.model_validate({}))
    stopping = Stopping(store, Settler(store, metrics), metrics)
    looked = store.memory.record

    async def slowly(chat: Chat, run_id: str) -> RunRecord | None:
        monkeypatch.undo()
        found = await looked(chat, run_id)
        await asyncio.sleep(seconds)
        return found

    monkeypatch.setattr(store.memory, "record", slowly)
    asked = asyncio.create_task(stopping.stop(chat, "run-00001", wait_ms=5000))
    await eventually(lambda: store.memory.record == looked, within=10)
    if seconds:
        await asyncio.sleep(seconds + 0.2)
        assert not asked.done()
        words = LastWords(Message("assistant", "so", 0, "run-00001", "stopped", {}), [], 2)
        assert (await store.memory.end(chat, run, store.leases.process, words)).answer == "ended"
    result = (await asked).result
    await stopping.close()
    assert result == "stopped" if seconds else result in {"already_finished", "owner_lost"}
    record = await store.memory.record(chat, "run-00001")
    assert record
    assert record.outcome == ("stopped" if seconds else "failed")


async def test_a_reply_that_goes_on_is_not_settled_though_its_stop_was_not_heard(
    store: Store, chat_id: str
) -> None:
    chat, run = Chat("", chat_id), a_run(store, "run-00001")
    await store.redis.do(store.leases.renewal())
    await store.memory.start(chat, run, Asked("hello", "d"), [hold(chat, run)])
    metrics = Metrics(Settings.model_validate({}))
    stopping = Stopping(store, Settler(store, metrics), metrics)
    asked = asyncio.create_task(stopping.stop(chat, "run-00001", wait_ms=5000))
    began, number = asyncio.get_running_loop().time(), 0
    while asyncio.get_running_loop().time() - began < TAKEN_SECONDS + 0.8:
        number += 1
        await store.log.append([News(chat, "run-00001", [Text("x")], number)])
        await asyncio.sleep(0.02)
    assert not asked.done()
    words = LastWords(Message("assistant", "x", 0, "run-00001", "stopped", {}), [], number + 1)
    assert (await store.memory.end(chat, run, store.leases.process, words)).answer == "ended"
    assert (await asked).result == "stopped"
    await stopping.close()


async def test_what_cannot_be_read_harms_only_itself(
    cluster: Cluster, client: Client, chat_id: str, redis_url: str
) -> None:
    good = await client.ask(chat_id, "hello")
    async with connected(redis_url) as redis:
        for n, garbage in enumerate(GARBAGE):
            await redis.hset("held:0000", f"x{n}", garbage)
            await redis.rpush(f"chat:{{{chat_id}}}:messages", garbage)
            await redis.hset(f"chat:{{{chat_id}}}:runs", f"garbage-{n}", garbage)
            await redis.zadd("stopped", {garbage: 1e13 + n})
            await redis.hset("backends", f"garbage-{n}", garbage)
        await redis.hset("backends", "0000", "{}")
        await redis.set("held:garbage-1", "a text")
        odd = [f"odd-{n}-{chat_id}" for n in range(3)]
        await redis.set(f"chat:{{{odd[0]}}}", "x")
        await redis.rpush(f"chat:{{{odd[1]}}}", "x")
        await redis.hset(f"chat:{{{odd[2]}}}", "created_at", "soon")
        await redis.zadd("chats", dict.fromkeys(odd, 9e12))
        try:
            assert (await client.chat_info(chat_id))["messages"][0]["content"] == "hello"
            assert (await client.get("/api/v1/chats"))["count"] >= 1
            for path in ("/api/v1/runs", "/api/v1/status", "/health"):
                assert (await client.http.get(path)).status_code == 200, path
            assert (await client.ask(chat_id, "again")).end["outcome"] == "done"
            assert good.end["outcome"] == "done"
        finally:
            keys = [key async for key in redis.scan_iter("*odd-*")]
            await redis.delete("held:0000", "held:garbage-1", "stopped", *keys)
            await redis.hdel("backends", "0000", *[f"garbage-{n}" for n in range(len(GARBAGE))])
            await redis.zrem("chats", *odd)


async def test_an_event_of_another_version_passes_through(
    client: Client, chat_id: str, redis_url: str
) -> None:
    run_id = (await client.ask(chat_id, "hello")).run_id
    async with connected(redis_url) as redis:
        key = f"chat:{{{chat_id}}}:events:{run_id}"
        events = [pair async for pair in _pairs(redis, key)]
        await redis.delete(key)
        events.insert(1, (0, 'hologram {"depth": 3}'))
        fields = {str(n): text for n, (_, text) in enumerate(events, 1)}
        await redis.xadd(key, fields, id=f"{len(events)}-0")
    async with client.attach(chat_id) as stream:
        await stream.rest()
    assert [frame.event for frame in stream.frames][:2] == ["start", "hologram"]
    assert stream.end["outcome"] == "done"


async def test_what_is_out_of_turn_in_a_log_is_passed_over_and_holds_up_nobody(
    cluster: Cluster, chat_id: str, ollama: FakeOllama, redis_url: str
) -> None:
    ollama.default = HELD
    async with connected(redis_url) as redis, cluster.client(1) as one, cluster.client(2) as two:
        async with one.chat(chat_id, "hello") as made, two.attach(chat_id) as followed:
            await followed.until_text(HELD_TEXT)
            key = f"chat:{{{chat_id}}}:events:{made.run_id}"
            await redis.xadd(key, {"9999": 'hologram {"depth": 3}', "odd": "x"}, id="9999-0")
            assert (await one.stop(chat_id, wait=5000))["result"] == "stopped"
            await made.rest()
            await followed.rest()
        async with two.attach(chat_id) as replayed:
            await replayed.rest()
    for stream in (made, followed, replayed):
        assert len(stream.terminals) == 1
        assert stream.text == HELD_TEXT


async def _pairs(redis: Any, key: str) -> AsyncIterator[tuple[int, str]]:
    for _, fields in await redis.xrange(key):
        for number, text in fields.items():
            yield int(number), text.decode()


@pytest.mark.parametrize("make", ["rpush", "hset", "zadd"])
async def test_a_stop_key_of_another_type_neither_hinders_nor_stops(
    client: Client, chat_id: str, redis_url: str, make: str
) -> None:
    async with connected(redis_url) as redis:
        ways: dict[str, Callable[[], Awaitable[Any]]] = {
            "rpush": lambda: redis.rpush(f"stop:{chat_id}", "y"),
            "hset": lambda: redis.hset(f"stop:{chat_id}", "y", "z"),
            "zadd": lambda: redis.zadd(f"stop:{chat_id}", {"y": 1}),
        }
        await ways[make]()
        assert (await client.ask(chat_id, "hello")).end["outcome"] == "done"
        assert await redis.delete(f"stop:{chat_id}")


async def test_of_twenty_that_replace_at_once_one_goes_on(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    body = {"message": "hello", "on_busy": "replace"}
    url = f"/api/v1/chat/{chat_id}?format=json"

    async def ask(n: int) -> tuple[int, str]:
        run_id = f"replacing-{n:04d}"
        async with client.http.stream("POST", url, json=body | {"run_id": run_id}, timeout=60) as answer:
            return answer.status_code, run_id

    asked = await asyncio.gather(*(ask(n) for n in range(20)))
    state = await client.chat_info(chat_id)
    assert state["status"] == "running"
    assert state["run"]["run_id"] in {run_id for status, run_id in asked if status == 200}
    await client.stop(chat_id, wait=5000)


async def test_a_thousand_stops_at_once_are_two_round_trips(
    client: Client, new_chat: Callable[[], str]
) -> None:
    ids = [f"{new_chat()}-{n}" for n in range(1000)]
    answer = (await client.http.post("/api/v1/stop/bulk", json={"chat_ids": ids}, timeout=60)).json()
    assert (answer["total"], answer["successful"], answer["failed"]) == (1000, 1000, 0)
    assert [one["chat_id"] for one in answer["results"]] == ids


async def test_two_databases_of_one_server_never_hear_each_other(redis_url: str, chat_id: str) -> None:
    heard: list[str] = []
    url = redis_url.rsplit("/", 1)[0]
    here, there = (Settings.model_validate({"redis_url": f"{url}/{n}"}) for n in (9, 10))
    async with Store(here) as ours, Store(there) as theirs:
        ours.bells.on_stop = lambda name, _: heard.append(name)
        ready = asyncio.Event()
        ours.bells.on_gap = ready.set
        listening = asyncio.create_task(ours.bells.listen())
        await ready.wait()
        await theirs.stops.request(Chat("", chat_id), None)
        await ours.stops.request(Chat("", "mine"), None)
        await eventually(lambda: heard)
        assert heard == ["mine"]
        listening.cancel()
        await asyncio.wait([listening])


async def test_a_prefix_keeps_two_stacks_on_one_database_apart(redis_url: str, chat_id: str) -> None:
    first, second = (
        Settings.model_validate({"redis_url": redis_url, "redis_prefix": prefix}) for prefix in ("a:", "b:")
    )
    chat = Chat("", chat_id)
    async with Store(first) as ours, Store(second) as theirs, connected(redis_url) as redis:
        await turn(ours, chat, "run-00001", "hello")
        assert len((await ours.memory.read(chat)).messages) == 2
        assert (await theirs.memory.read(chat)).messages == []
        keys = [key.decode() async for key in redis.scan_iter(f"*{chat_id}*")]
        assert keys
        assert all(key.startswith("a:") for key in keys)
        assert await ours.shelf.delete(chat) == "deleted"


async def test_a_clock_that_jumps_ends_no_running_reply(
    client: Client, chat_id: str, ollama: FakeOllama, redis_url: str
) -> None:
    ollama.default = HELD
    async with connected(redis_url) as redis, client.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        for key in [key async for key in redis.scan_iter(f"chat:{{{chat_id}}}*")]:
            if b":readers" not in key:
                assert await redis.ttl(key) == -1, key
        await client.stop(chat_id, wait=5000)
        await stream.rest()
        for key in [key async for key in redis.scan_iter(f"chat:{{{chat_id}}}*")]:
            assert await redis.ttl(key) > 0, key


async def test_a_large_chat_is_cut_by_its_weight(store: Store, redis_url: str, chat_id: str) -> None:
    chat = Chat("", chat_id)
    async with connected(redis_url) as redis:
        for n in range(150):
            await turn(store, chat, f"run-{n:05d}", "🙂" * 4000)
        fields = await redis.hgetall(chat.key)
        kept = sum(len(line) for line in await redis.lrange(chat.messages, 0, -1))
        assert kept <= 2 * 1024 * 1024
        assert int(fields[b"bytes"]) == kept
        assert (await store.memory.start(chat, a_run(store, "run-new01"), Asked("x", "d", "run-00149"), []))[
            0
        ].__class__ is Started
        await store.memory.undo(chat, a_run(store, "run-new01"), Asked("x", "d", None))
        await store.shelf.delete(chat)


async def test_many_readers_of_one_long_reply_cost_one_connection(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=[f"t{n} " for n in range(3000)])
    first = await client.ask(chat_id, "hello")

    async def read(n: int) -> str:
        async with cluster.client(n % 3 + 1) as one, one.attach(chat_id) as stream:
            await stream.rest()
            return stream.text

    texts = await asyncio.gather(*(read(n) for n in range(60)))
    assert set(texts) == {first.text}


async def test_a_dead_backends_run_that_is_on_no_list_any_more_is_settled_for_its_reader(
    store: Store, client: Client, chat_id: str, redis_url: str
) -> None:
    chat, run = Chat("", chat_id), a_run(store, "run-lost1")  # of a process that never gave a sign of life
    met, _ = await store.memory.start(chat, run, Asked("hello", "d", None), [])
    assert isinstance(met, Started)
    async with client.attach(chat_id) as stream:
        await stream.rest()
    assert stream.end["error"]["code"] == "backend_lost"
    assert (await client.chat_info(chat_id))["status"] == "active"
