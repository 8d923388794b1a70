"""Files when things go wrong: killed backends, lost answers, a full Redis, many at once."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.agents.room import Room
from app.api.arrival import Arrivals, Refused
from app.chat.handed import MOST_HANDED, Handing
from app.chat.window import MOST_PICTURES, choose
from app.errors import ModelFailure, RedisUnavailable
from app.runs.run import Run
from app.store.records import Message
from app.store.store import Store
from tests.world.client import Client
from tests.world.fakes.reply import HELD, HELD_TEXT, Reply
from tests.world.pictures import png
from tests.world.redis_server import connect
from tests.world.rough import Rough, read_until_broken
from tests.world.uploads import got, pictures_in, put, sent
from tests.world.waiting import eventually


async def test_a_killed_backend_loses_no_file(rough: Rough, chat_id: str) -> None:
    one, two = png(1, weight=120_000), png(2)
    async with rough.cluster.client(1) as first, rough.cluster.client(2) as second:
        ids = [(await sent(first, chat_id, body))["file_id"] for body in (one, two)]
        rough.ollama.script.append(HELD)
        async with first.chat(chat_id, "look", files=ids[:1]) as stream:
            await stream.until_text(HELD_TEXT)
            body = {"message": "wait", "files": ids[1:], "on_busy": "queue"}
            assert (await second.http.post(f"/api/v1/chat/{chat_id}", json=body)).status_code == 202
            await rough.cluster.kill(1)
            await read_until_broken(stream)

        async def answered() -> bool:
            return len(await second.messages(chat_id)) == 4

        await eventually(answered, within=60, every=0.1)
        assert [(await got(second, chat_id, one_id)).content for one_id in ids] == [one, two]
    (waited,) = rough.ollama.of("wait")
    asked = pictures_in("ollama", waited.body)
    assert [pictures for role, pictures, _ in asked if role == "user"] == [[one], [two]]


async def test_uploads_whose_answers_are_lost_are_whole_and_weigh_no_less_than_they_do(
    rough: Rough, chat_id: str
) -> None:
    bodies = [png(n + 1, weight=30_000) for n in range(12)]
    async with rough.cluster.client(1) as client, connect(rough.redis.url) as redis:
        rough.redis_link.drop_fraction = 0.2
        ids = [await insisted(client, chat_id, body) for body in bodies]
        rough.redis_link.drop_fraction = 0.0
        for file_id, body in zip(ids, bodies, strict=True):
            assert (await got(client, chat_id, file_id)).content == body
        held = int(await redis.hget(f"chat:{{{chat_id}}}:files", ":bytes") or 0)
        assert held == sum(map(len, bodies))
        weighed = str(await redis.hget("files", chat_id) or "0").split()[0]
        assert int(weighed) >= held
    await rough.heal()


async def insisted(client: Client, chat_id: str, body: bytes) -> str:
    for _ in range(40):
        answer = await put(client, chat_id, body)
        if answer.status_code == 201:
            return str(answer.json()["file_id"])
        assert answer.status_code == 503
    raise AssertionError("never taken")


async def test_a_full_redis_refuses_files_and_takes_them_again(rough: Rough, chat_id: str) -> None:
    async with rough.cluster.client(1) as client, connect(rough.redis.url) as redis:
        await redis.config_set("maxmemory", "1")
        answer = await put(client, chat_id, png())
        assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")
        await redis.config_set("maxmemory", "0")
        assert (await put(client, chat_id, png())).status_code == 201
    await rough.heal()


async def test_a_file_that_is_gone_is_named_and_the_reply_is_made(rough: Rough, chat_id: str) -> None:
    async with rough.cluster.client(1) as client, connect(rough.redis.url) as redis:
        file_id = (await sent(client, chat_id, png(), name="door.png"))["file_id"]
        await client.ask(chat_id, "look", files=[file_id])
        await redis.delete(f"chat:{{{chat_id}}}:files")
        rough.ollama.default = Reply()
        assert (await client.ask(chat_id, "and now?")).outcome == "done"
        assert (await got(client, chat_id, file_id)).status_code == 404
    (now,) = rough.ollama.of("and now?")
    assert pictures_in("ollama", now.body)[0] == ("user", [], "[door.png: not shown]\n\nlook")


async def test_what_is_handed_over_at_once_is_bounded_and_nobody_waits_for_ever() -> None:
    size = 1_500_000
    reads = held = most = 0

    async def bytes_of(*_: Any) -> bytes:
        nonlocal reads, held, most
        reads += 1
        held += size
        most = max(most, held)
        await asyncio.sleep(0)
        return b"x"

    store = cast(Store, SimpleNamespace(files=SimpleNamespace(bytes_of=bytes_of)))
    run = cast(Run, SimpleNamespace(chat=None))
    handing = Handing(store)
    file = {"file_id": "f", "media_type": "image/png", "name": "n", "bytes": size}

    async def one(count: int, work: Callable[[], Awaitable[None]]) -> None:
        nonlocal held
        async with handing.handed(run, {0: [file] * count}):
            await work()
            held -= size * count

    async def some_time() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def for_ever() -> None:
        await asyncio.Event().wait()

    stuck = [asyncio.create_task(one(4, for_ever)) for _ in range(6)]  # the first holds, the others wait
    await some_time()
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    held = 0
    async with asyncio.timeout(20):
        await asyncio.gather(*(one(1 + n % 4, some_time) for n in range(60)))
    assert most <= MOST_HANDED
    assert reads > 60


async def test_a_redis_that_is_away_just_then_is_told_as_what_it_is() -> None:
    async def away(*_: Any) -> bytes:
        raise RedisUnavailable("It is away.")

    handing = Handing(cast(Store, SimpleNamespace(files=SimpleNamespace(bytes_of=away))))
    file = {"file_id": "f", "media_type": "image/png", "name": "n", "bytes": 9}
    for _ in range(100):  # what was taken is given back
        with pytest.raises(ModelFailure) as failed:
            async with handing.handed(cast(Run, SimpleNamespace(chat=None)), {0: [file]}):
                pass
        assert (failed.value.code, failed.value.retry) == ("redis_unavailable", True)


def test_pictures_weigh_in_the_window_and_the_newest_go_along() -> None:
    def turn(n: int, **size: int) -> list[Message]:
        file = {"file_id": str(n), "media_type": "image/png", "name": f"{n}.png", "bytes": 9, **size}
        return [Message("user", f"q{n}", files=[file]), Message("assistant", f"a{n}")]

    history = [message for n in range(8) for message in turn(n, width=1000, height=1000)]
    history.append(Message("user", "and now?"))
    wide = choose(history, 100, Room(100_000, 1000, 10))
    assert len(wide.turns) == 17
    faded = [bool(wide.files[at][0].get("faded")) for at in sorted(wide.files)]
    assert faded == [True] * (8 - MOST_PICTURES) + [False] * MOST_PICTURES
    narrow = choose(history, 100, Room(4096, 1000, 10))
    assert 1 <= len(narrow.turns) < 9
    assert narrow.left_out == 17 - len(narrow.turns)
    blind = choose(history, 100, Room(4096, 1000, 10, sees=False))
    assert all(file["faded"] for files in blind.files.values() for file in files)
    assert len(blind.turns) > len(narrow.turns)


def test_a_text_that_can_never_fit_is_told() -> None:
    text = {"file_id": "t", "media_type": "text/plain", "name": "t", "bytes": 90_000}
    asked = [Message("user", "sum it up", files=[text])]
    assert choose(asked, 8, Room(4096, 1000, 10)).too_long
    assert not choose(asked, 8, Room(0, 1000, 10)).too_long
    assert not choose(asked, 8, Room(128_000, 1000, 10)).too_long


async def test_files_that_wait_to_be_stored_count_among_what_arrives() -> None:
    arrivals = Arrivals(budget=100)

    async def arrive(length: int) -> int:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x" * length, "more_body": False}

        return len(await arrivals.body(receive, {}, 1000))

    for path, held in (("/api/v1/chat/a/files", True), ("/api/v1/chat/a", False)):
        with arrivals.holding(path, 80):
            assert await arrive(20) == 20
            if held:
                with pytest.raises(Refused) as refused:
                    await arrive(21)
                assert refused.value.status == 503
            else:
                assert await arrive(100) == 100
    assert await arrive(100) == 100
