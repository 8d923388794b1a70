"""Files and answers where others write too: at the same time, or what nobody can read."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.errors import NotFound, TooLarge
from app.events import End, Usage
from app.settings import Settings
from app.store.approvals import AskedCall
from app.store.asked import Asked
from app.store.filed import Filed
from app.store.files import MOST_FILES
from app.store.keys import Chat, file_weights
from app.store.records import LastWords, LiveRun, Message
from app.store.store import Store
from app.store.waiting import read_all
from tests.world.client import Client
from tests.world.redis_server import connect
from tests.world.uploads import sent

ROUNDS = 150


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    async with Store(Settings.model_validate({"redis_url": redis_url, "redis_prefix": "hard-files:"})) as one:
        yield one


def a_text(number: int) -> tuple[Filed, bytes]:
    body = f"{number}" * 9000
    return Filed(f"{number:064x}", "text/plain", len(body), "a.txt"), body.encode()


async def test_a_chat_deleted_while_files_come_holds_nothing_uncounted(
    store: Store, redis_url: str, chat_id: str
) -> None:
    async def put_later(chat: Chat, number: int) -> None:
        await store.files.put(chat, *a_text(number))

    async def delete_later(chat: Chat, ticks: int) -> None:
        for _ in range(ticks):
            await asyncio.sleep(0)
        await store.shelf.delete(chat)

    async with connect(redis_url) as redis:
        for n in range(ROUNDS):
            chat = Chat("racer", f"{chat_id}-{n}")
            await asyncio.gather(
                *(put_later(chat, number) for number in range(3)),
                *(delete_later(chat, n % 50 + 3 * ticks) for ticks in range(3)),
            )
            held = int(await redis.hget(f"hard-files:{chat.files}", ":bytes") or 0)
            row = await redis.hget(f"hard-files:{file_weights('racer')}", chat.id)
            assert int(str(row or 0).split(" ")[0]) >= held
            await store.shelf.delete(chat)


async def counted(redis_url: str, owner: str) -> int:
    async with connect(redis_url) as redis:
        return int(await redis.hget(f"hard-files:{file_weights(owner)}", ":total") or 0)


async def test_files_that_find_no_place_are_refused_and_not_counted(
    store: Store, redis_url: str, chat_id: str
) -> None:
    chat, many = Chat("many", chat_id), dict(a_text(n) for n in range(MOST_FILES + 1))

    async def load(file: Filed) -> bytes:
        return many[file]

    with pytest.raises(TooLarge):
        await store.files.put_all(chat, [*many], load)
    assert await counted(redis_url, "many") == 0
    await store.files.put_all(chat, [*many][:-3], load)
    held = await counted(redis_url, "many")
    with pytest.raises(TooLarge):
        await store.files.put_all(chat, [*many][-3:], load)
    assert held < await counted(redis_url, "many") < held + 3 * max(map(len, many.values()))
    await store.shelf.delete(chat)
    assert await counted(redis_url, "many") == 0


async def test_files_for_one_reply_give_their_room_back_when_it_ends(
    store: Store, redis_url: str, chat_id: str
) -> None:
    chat, (file, body) = Chat("brief", chat_id), a_text(1)
    await store.files.put(chat, file, body)
    run = LiveRun("run-00001", 0, "general", "demo", "demo", "b", store.leases.process, "a1", keep=False)
    await store.memory.start(chat, run, Asked("hello", "d"), [])
    assert await counted(redis_url, "brief") > 0
    end = End("done", "end_turn", Usage(0, 0, False), 0)
    await store.memory.end(chat, run, "w", LastWords(Message("assistant", "x", outcome="done"), [end], 1))
    assert await counted(redis_url, "brief") == 0


ABOUT = json.dumps(a_text(1)[0].entry())


@pytest.mark.parametrize(
    "written",
    [
        ABOUT.replace('"a.txt"', '"a\\r\\nSet-Cookie: x"'),
        ABOUT.replace("text/plain", "text/html\\r\\nX: y"),
        ABOUT.replace('"a.txt"', '"\\ud800"'),
        ABOUT.replace('"bytes": 9000', '"bytes": -1'),
        ABOUT.replace('"bytes": 9000', '"bytes": 99999999999999'),
    ],
)
async def test_what_is_written_of_a_file_is_looked_at_before_it_is_told(
    store: Store, redis_url: str, chat_id: str, written: str
) -> None:
    chat, (file, body) = Chat("", chat_id), a_text(1)
    await store.files.put(chat, file, body)
    assert written != ABOUT
    async with connect(redis_url) as redis:
        await redis.hset(f"hard-files:{chat.files}", file.file_id, f"token {written}")
    with pytest.raises(NotFound):
        await store.files.look_up(chat, [file.file_id])


async def test_a_chat_of_files_alone_is_deleted_as_one(store: Store, chat_id: str) -> None:
    chat, (file, body) = Chat("", chat_id), a_text(1)
    await store.files.put(chat, file, body)
    assert [await store.shelf.delete(chat) for _ in range(2)] == ["deleted", "unknown"]


@pytest.mark.parametrize("field", ["call-0001:answer", "may:calculate"])
@pytest.mark.parametrize("junk", [b"\xff\xfe", b"allowed", b"allowed ever", b"allowed once more", b"{}"])
async def test_an_answer_that_nobody_can_read_agrees_to_nothing(
    store: Store, redis_url: str, chat_id: str, field: str, junk: bytes
) -> None:
    chat = Chat("", chat_id)
    run = LiveRun("run-00001", 0, "general", "demo", "demo", "b", store.leases.process, "a1")
    await store.memory.start(chat, run, Asked("hello", "d"), [])
    call: Any = AskedCall("call-0001", "calculate", run.run_id, {}, 1, 2)
    key = chat.key if field.startswith("may:") else chat.approvals
    if key == chat.approvals:
        assert await store.approvals.question(chat, run, call, life=60) is None
    async with connect(redis_url) as redis:
        await redis.hset(f"hard-files:{key}", field, junk)
    assert await store.approvals.question(chat, run, call, life=60) == "lapsed"


@pytest.mark.parametrize("told", [{"text": 5}, {"text": "x", "agent": []}, {"text": None}, []])
def test_what_waits_and_is_no_message_is_passed_over(told: Any) -> None:
    sound = b'run-00002 1 {"text": "x"}'
    entries = [b"run-00001 1 " + json.dumps(told).encode(), sound]
    assert [one.run_id for one in read_all(entries)] == ["run-00002"]


@pytest.mark.parametrize("body", [b'{"x": NaN}', b"{torn", b'{"a": 1}\n{"a": 2}\n'])
async def test_a_file_of_json_is_a_text_and_need_not_be_right(
    client: Client, chat_id: str, body: bytes
) -> None:
    file = await sent(client, chat_id, body, "application/json", "log.json")
    assert (file["media_type"], file["bytes"]) == ("text/plain", len(body))
