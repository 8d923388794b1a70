"""Words are found in titles and messages, whatever their case, in bounded time, without holding the loop."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest

from app.settings import Settings
from app.store.find import Finder
from app.store.keys import Chat, index
from app.store.records import Message
from app.store.store import Store
from app.store.wire.script import command
from tests.world.client import Client
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply

OWNER = "finder"


async def found(client: Client, words: str) -> list[tuple[str, str]]:
    answer = await client.http.get("/api/v1/chats", params={"q": words, "limit": 200})
    assert answer.status_code == 200, answer.text
    assert answer.json()["complete"] in (True, False)
    assert answer.json()["count"] == len(answer.json()["chats"])
    return [(chat["chat_id"], chat["excerpt"]) for chat in answer.json()["chats"]]


async def test_titles_come_first_then_messages_the_newest_first(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ids = [f"{chat_id}-{n}" for n in range(4)]
    long = "so " * 80
    ollama.default = Reply(tokens=[long, 'in the "ZEBRA\n\\ crossing" of Straße ', long])
    await client.ask(ids[0], "the zebra\u00df of old")  # title and message
    await client.ask(ids[1], "tell me one")
    ollama.default = Reply(tokens=["nothing of that kind"])
    await client.ask(ids[2], "tell me two")
    await client.ask(ids[3], "and the ZeBra\u00df now")
    hits = await found(client, "zebra")
    assert [chat for chat, _ in hits if chat in ids] == [ids[3], ids[0], ids[1]]
    excerpt = dict(hits)[ids[1]]
    assert "ZEBRA" in excerpt
    assert excerpt.startswith("…")
    assert excerpt.endswith("…")
    assert len(excerpt) < 200
    assert [chat for chat, _ in await found(client, "zebrass")] == [ids[3], ids[0]]
    assert [chat for chat, _ in await found(client, 'the "zebra')] == [ids[1], ids[0]]
    assert [chat for chat, _ in await found(client, "strasse")] == [ids[1], ids[0]]
    assert ids[2] not in dict(await found(client, "role"))
    assert ids[2] not in dict(await found(client, "created"))


async def test_too_long_and_empty_words(client: Client) -> None:
    assert (await client.http.get("/api/v1/chats", params={"q": "x" * 201})).status_code == 422
    blank = (await client.http.get("/api/v1/chats", params={"q": "  "})).json()
    assert all("excerpt" not in chat for chat in blank["chats"])


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    async with Store(Settings.model_validate({"redis_url": redis_url})) as opened:
        yield opened


async def fill(store: Store, chats: int, messages: int) -> None:
    """Chats as long as they may be, with words in the oldest message of each tenth one."""
    words = "Größe und ein paar gewöhnliche Worte über dies und das. " * 5
    for first in range(0, chats, 10):
        commands = []
        for n in range(first, first + 10):
            chat = Chat(OWNER, f"chat-{n}")
            lines = [f"1 run-{m} {Message('user', f'{m} {words}').body()}" for m in range(messages)]
            lines[0] = (
                f"1 run-0 {json.dumps({'role': 'user', 'content': 'Needle' if n % 10 == 0 else 'hay'})}"
            )
            commands += [
                command("ZADD", index(OWNER), n, chat.id),
                command("HSET", chat.key, "title", f"title {n}", "updated_at", "1"),
                command("RPUSH", chat.messages, *lines),
            ]
        await store.redis.do_all(commands)


async def forget(store: Store, chats: int) -> None:
    keys = [Chat(OWNER, f"chat-{n}") for n in range(chats)]
    await store.redis.do_all([command("UNLINK", chat.messages) for chat in keys])
    await store.redis.do_all([command("UNLINK", key) for key in (index(OWNER), *(c.key for c in keys))])


async def longest_hold(task: "asyncio.Task[object]") -> float:
    """The longest that the loop was held while a task ran, in CPU time: a busy machine does not count."""
    longest = 0.0
    while not task.done():
        began = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - began)
    return longest


async def test_five_hundred_long_chats_are_searched_without_holding_the_loop(store: Store) -> None:
    await fill(store, 500, 200)
    try:
        whole = await Finder(store.redis).find(OWNER, "needle", 500, seconds=60)
        assert [hit.chat_id for hit in whole.found] == [f"chat-{n}" for n in range(490, -1, -10)]
        assert whole.complete
        task = asyncio.create_task(Finder(store.redis).find(OWNER, "nowhere", 500, seconds=60))
        held = await longest_hold(task)
        assert held < 0.02, f"the loop was held {held * 1000:.1f} ms"
        assert not (await task).found
        hurried = await Finder(store.redis).find(OWNER, "nowhere", 500, seconds=0)
        assert (hurried.found, hurried.complete) == ([], False)
    finally:
        await forget(store, 500)
