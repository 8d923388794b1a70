"""What stands under a key in another type, or as garbage, is put right or harms only itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.settings import Settings
from app.store.asked import Asked
from app.store.keys import BACKENDS, TYPES, Chat, held, index, lease, stopped
from app.store.records import LastWords, Message, Started
from app.store.store import Store
from tests.test_hard_store import a_run, connected, turn
from tests.world.client import Client
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.redis_server import connect
from tests.world.rough import Rough
from tests.world.waiting import eventually

MAKERS: dict[str, tuple[Any, ...]] = {
    "string": ("SET", "x"),
    "list": ("RPUSH", "x", "y"),
    "hash": ("HSET", "x", "y"),
    "zset": ("ZADD", "1", "x"),
    "stream": ("XADD", "1-0", "x", "y"),
}
NUMBERS = ["soon", "nan", "inf", "-1e400", "1e300", "-7", "", "1.5", "\ufffd"]


def garbage(kind: str, key: str) -> tuple[Any, ...]:
    name, *rest = MAKERS[kind]
    return (name, key, *rest)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    async with Store(Settings.model_validate({"redis_url": redis_url})) as store:
        yield store


def keys_of(chat: Chat) -> dict[str, str]:
    """The keys of a chat that scripts use, by their names there."""
    return {
        "chat": chat.key,
        "messages": chat.messages,
        "runs": chat.runs,
        "ids": chat.ids,
        "versions": chat.versions,
        "early": chat.early,
        "queue": chat.queue,
        "unsent": chat.unsent,
        "files": chat.files,
        "events": chat.events("run-00002"),
    }


async def one_more_turn(store: Store, chat: Chat, spoil: Callable[[], Any] | None = None) -> None:
    """A whole turn, its ending asked for twice, spoiled in its middle."""
    run = a_run(store, "run-00002", "a2")
    met, _ = await store.memory.start(chat, run, Asked("again", "d", None), [])
    assert isinstance(met, Started)
    if spoil:
        await spoil()
    reply = Message("assistant", "the reply", 0, "run-00002", "done", {})
    for _ in range(2):
        await store.memory.end(chat, run, store.leases.process, LastWords(reply, [], 1))


@pytest.mark.parametrize(
    "name", ["chat", "messages", "runs", "ids", "versions", "early", "queue", "unsent", "events"]
)
async def test_a_key_of_another_type_never_hinders_a_turn(
    store: Store, redis_url: str, new_chat: Callable[[], str], name: str
) -> None:
    async with connected(redis_url) as redis:
        for kind in MAKERS.keys() - {TYPES[name]}:
            for middle in (False, True):
                chat = Chat("", new_chat())
                await turn(store, chat, "run-00001", "hello")
                key = keys_of(chat)[name]

                async def spoil(key: str = key, kind: str = kind) -> None:
                    await redis.delete(key)
                    await redis.execute_command(*garbage(kind, key))

                if not middle:
                    await spoil()
                    for read in (store.memory.read(chat), store.shelf.listed("", 10, 0)):
                        await read
                await one_more_turn(store, chat, spoil if middle else None)
                replies = [m.content for m in (await store.memory.read(chat)).messages]
                assert replies.count("the reply") <= 1
                if (name, middle) != ("chat", True):  # such a run has lost its chat, as by a deletion
                    assert replies[-1:] == ["the reply"], (name, kind, middle)
                assert (await store.memory.state(chat)).live is None
                gone = "unknown" if (name, middle) == ("chat", True) else "deleted"
                assert await store.shelf.delete(chat) == gone


@pytest.mark.parametrize("kind", sorted(MAKERS.keys() - {"list"}))
async def test_lines_of_a_version_in_another_type_hinder_nothing(
    store: Store, redis_url: str, chat_id: str, kind: str
) -> None:
    chat = Chat("", chat_id)
    await turn(store, chat, "run-00001", "hello")
    await turn(store, chat, "run-00003", "hello again", replaces="run-00001")
    async with connected(redis_url) as redis:
        for key in (f"{chat.versions}:1", f"{chat.versions}:2"):  # that of the next is there already
            await redis.delete(key)
            await redis.execute_command(*garbage(kind, key))
        assert [m.content for m in (await store.memory.read(chat)).messages][::2] == ["hello again"]
        assert await store.branches.swap(chat, 1) == "unknown"
        await turn(store, chat, "run-00004", "a third", replaces="run-00003")
        (question, _) = (state := await store.memory.read(chat)).messages
        (version,) = state.versions[question.mark]
        assert version.messages[0].content == "hello again"
        assert await store.branches.swap(chat, version.number) == "swapped"
        assert [m.content for m in (await store.memory.read(chat)).messages][::2] == ["hello again"]
        await store.shelf.delete(chat)
        assert not await redis.keys(f"{chat.key}:versions*")


@pytest.mark.parametrize("value", NUMBERS)
async def test_a_counter_that_is_no_number_never_hinders_a_turn(
    store: Store, redis_url: str, chat_id: str, value: str
) -> None:
    chat = Chat("", chat_id)
    async with connected(redis_url) as redis:
        await turn(store, chat, "run-00001", "hello")
        for field in ("bytes", "first", "version"):
            await redis.hset(chat.key, field, value)

        async def spoil() -> None:
            for field in ("bytes", "first", "version"):
                await redis.hset(chat.key, field, value)

        await one_more_turn(store, chat, spoil)
        told = [message.content for message in (await store.memory.read(chat)).messages]
        assert told == ["hello", "answer to hello", "again", "the reply"]
        await turn(store, chat, "run-00003", "instead", replaces="run-00002") if value != "-7" else None
        run = a_run(store, "run-00004")
        await store.memory.start(chat, run, Asked("new", "d", None), [])
        await store.memory.undo(chat, run, Asked("new", "d", None))
        assert (await store.memory.state(chat)).live is None


@pytest.mark.parametrize("written", [b"\xff\xfe", b"soon", b"nan", b"1e999", b"-1", b""])
async def test_words_that_cannot_be_read_harm_only_themselves(
    store: Store, client: Client, redis_url: str, chat_id: str, written: bytes
) -> None:
    await client.ask(chat_id, "hello")
    fields = ("title", "temperature", "instructions", "created_at", "updated_at", "chosen", "may:calculate")
    async with connected(redis_url) as redis:
        for field in (*fields, written or "more"):
            await redis.hset(Chat("", chat_id).key, field, written)
        for key in ("chats", "queued"):
            await redis.zadd(key, {written: 1, b"\xff": 2})
        assert await store.queues.due() == []
        about = f"/api/v1/chat/{chat_id}"
        for address in (about, f"{about}/export?format=jsonl", f"{about}/approve", "/api/v1/chats?q=hello"):
            assert (await client.http.get(address)).status_code == 200, address
        await redis.hdel(Chat("", chat_id).key, "chosen")
        assert (await client.ask(chat_id, "again")).outcome == "done"
        await redis.zrem("chats", written, b"\xff")
        await redis.zrem("queued", written, b"\xff")


@pytest.mark.parametrize("described", ["not json", "[]", "{}", '{"process": 1}', '{"run_id": "x"}', ""])
async def test_a_run_that_cannot_be_read_holds_no_chat(
    store: Store, redis_url: str, new_chat: Callable[[], str], described: str
) -> None:
    async with connected(redis_url) as redis:
        for act in ("stop", "delete", "start"):
            chat = Chat("", new_chat())
            await turn(store, chat, "run-00001", "hello")
            await redis.hset(chat.key, mapping={"run_id": "run-lost1", "attempt": "z", "run": described})
            match act:
                case "stop":
                    assert (await store.stops.request(chat, "run-lost1")).what == "idle"
                case "delete":
                    assert await store.shelf.delete(chat) == "deleted"
                case "start":
                    await one_more_turn(store, chat)


async def test_what_another_version_adds_to_a_run_or_its_record_is_left_out(
    store: Store, redis_url: str, chat_id: str
) -> None:
    chat = Chat("", chat_id)
    await store.memory.start(chat, a_run(store, "run-00001"), Asked("hello", "d", None), [])
    async with connected(redis_url) as redis:
        described = (await redis.hget(chat.key, "run")).decode()
        await redis.hset(chat.key, "run", described.replace("{", '{"colour": 7, ', 1))
        await redis.hset(chat.runs, "run-00001", '{"digest": "d", "colour": {}}')
    live = (await store.memory.state(chat)).live
    assert live
    assert live.run_id == "run-00001"
    record = await store.memory.record(chat, "run-00001")
    assert record
    assert record.digest == "d"
    assert await store.shelf.delete(chat) == "running"
    await store.memory.undo(chat, a_run(store, "run-00001"), Asked("hello", "d", None))


@pytest.mark.parametrize("kind", sorted(MAKERS))
async def test_global_keys_of_another_type_are_made_anew(rough: Rough, chat_id: str, kind: str) -> None:
    rough.ollama.default = Reply(tokens=2)
    async with rough.cluster.client() as client, connect(rough.redis.url) as redis:
        processes = [str(name) for name in await redis.hgetall(BACKENDS)]
        keys = {BACKENDS: "hash", index(""): "zset", stopped(""): "zset"}
        keys |= {held(process): "hash" for process in processes}
        keys |= {lease(process): "string" for process in processes}
        for part, its in {"waiting": "zset", "working": "zset", "until": "zset", "who": "hash"}.items():
            keys[f"{{queue}}:{part}"] = its
        for key, its in keys.items():
            if its != kind:
                await redis.delete(key)
                await redis.execute_command(*garbage(kind, key))  # type: ignore[no-untyped-call]
        assert (await client.ask(chat_id, "hello")).end["outcome"] == "done"
        for path in ("/api/v1/runs", "/api/v1/status", "/api/v1/chats", "/health"):
            assert (await client.http.get(path)).status_code == 200, path
        await eventually(lambda: all_back(redis, processes), within=20)
        await redis.delete(stopped(""), *map(held, processes))


async def all_back(redis: Any, processes: list[str]) -> bool:
    """Whether every backend is listed again with a heartbeat."""
    if await redis.type(BACKENDS) != "hash":
        return False
    listed = await redis.hgetall(BACKENDS)
    lives = [await redis.pttl(lease(process)) for process in processes]
    return set(processes) <= set(listed) and all(0 < ms <= 9000 for ms in lives)


async def test_a_run_is_settled_in_time_though_every_list_was_lost(rough: Rough, chat_id: str) -> None:
    rough.ollama.default = HELD
    async with connect(rough.redis.url) as redis, rough.cluster.client() as client:
        async with client.chat(chat_id, "hello") as stream:
            await stream.until_text(HELD_TEXT)
            n = rough.cluster.number(stream.backend)
            listed = {key: await redis.hlen(key) async for key in redis.scan_iter("held:*")}
            for key in listed:
                await redis.delete(key)
                await redis.rpush(key, "x")
            await eventually(lambda: hash_again(redis, list(listed)), within=20)
            process = next(iter(listed)).partition(":")[2]
            await rough.cluster.kill(n)
        await redis.delete(BACKENDS)
        await redis.rpush(BACKENDS, "x")
        await redis.delete(lease(process))
        await redis.rpush(lease(process), "x")
        await eventually(lambda: not_running(rough, n, chat_id), within=30)
        async with rough.cluster.client(n % 3 + 1) as other:
            assert [m["content"] for m in await other.messages(chat_id)] == ["hello", HELD_TEXT]


async def test_a_run_whose_list_dies_with_its_backend_is_settled_with_nobody_asking(
    rough: Rough, chat_id: str
) -> None:
    async with connect(rough.redis.url) as redis:
        await die_while_replying(rough, chat_id)
        for key in [key async for key in redis.scan_iter("held:*")]:
            await redis.delete(key)
            await redis.rpush(key, "x")
        await eventually(lambda: settled(redis, chat_id), within=30)


async def test_a_list_of_chats_of_another_type_keeps_nobody_from_being_settled(
    rough: Rough, chat_id: str
) -> None:
    async with connect(rough.redis.url) as redis:
        await die_while_replying(rough, chat_id)
        await redis.delete("chats")
        await redis.rpush("chats", "x")
        await eventually(lambda: settled(redis, chat_id), within=30)
        await redis.delete("chats")


async def test_a_run_that_no_list_knows_any_more_is_settled_with_nobody_asking(
    rough: Rough, chat_id: str
) -> None:
    async with connect(rough.redis.url) as redis:
        await die_while_replying(rough, chat_id)
        lists = ["chats", *[key async for key in redis.scan_iter("held:*")]]
        for key in lists:
            await redis.delete(key)
            await redis.set(key, "x")
        await eventually(lambda: settled(redis, chat_id), within=30)
        await redis.delete("chats")


async def die_while_replying(rough: Rough, chat_id: str) -> None:
    """The backend that makes a reply in this chat, which has its first words."""
    rough.ollama.default = HELD
    async with rough.cluster.client() as client, client.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        await rough.cluster.kill(rough.cluster.number(stream.backend))


async def settled(redis: Any, chat_id: str) -> bool:
    return await redis.hget(Chat("", chat_id).key, "run") is None


async def hash_again(redis: Any, keys: list[str]) -> bool:
    return bool(keys) and all([await redis.type(key) == "hash" for key in keys])


async def not_running(rough: Rough, dead: int, chat_id: str) -> bool:
    async with rough.cluster.client(dead % 3 + 1) as client:
        return bool((await client.chat_info(chat_id))["status"] != "running")


async def test_a_log_of_another_type_holds_up_no_other_reader(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.default = FLOWING
    spoiled, other = new_chat(), new_chat()
    async with (
        connect(rough.redis.url) as redis,
        rough.cluster.client(1) as client,
        rough.cluster.client(2) as reader,
        client.chat(spoiled, "hello") as one,
        client.chat(other, "hello") as two,
        reader.attach(spoiled) as third,
        reader.attach(other) as fourth,
    ):
        for stream in (one, two, third, fourth):
            await stream.until_text("word5")
        key = f"chat:{{{spoiled}}}:events:{one.run_id}"
        await redis.delete(key)
        await redis.set(key, "x")
        seen = len(fourth.text)
        await fourth.until(lambda stream: len(stream.text) > seen + 500)
        await third.until(lambda stream: len(stream.frames) > 100)
        await asyncio.gather(*(client.stop(chat, wait=5000) for chat in (spoiled, other)))
        await asyncio.gather(one.rest(), two.rest())
        assert {one.outcome, two.outcome} == {"stopped"}
