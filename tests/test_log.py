"""What one round writes into the logs of many runs: each gets its own, whatever becomes of the others."""

from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from app.events import Event, Text
from app.settings import Settings
from app.store.asked import Asked
from app.store.eventlog import AT_ONCE, News
from app.store.keys import Chat
from app.store.records import LiveRun, Started
from app.store.store import Store


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    async with Store(Settings.model_validate({"redis_url": redis_url})) as store:
        yield store


async def begun(store: Store, chat: Chat, run_id: str = "run-00001") -> LiveRun:
    run = LiveRun(run_id, 0, "general", "demo", "demo", "backend-x", store.leases.process, run_id)
    met, _ = await store.memory.start(chat, run, Asked("q", "d", None), [])
    assert isinstance(met, Started)
    return run


def news(chat: Chat, run: LiveRun, first: int, *said: str) -> News:
    return News(chat, run.run_id, [Text(text) for text in said], first)


async def said(store: Store, chat: Chat, run: LiveRun) -> list[Event]:
    return await store.log.read(chat, run.run_id)


async def test_a_round_writes_what_it_can_of_many_runs(
    store: Store, redis_url: str, new_chat: Callable[[], str]
) -> None:
    well, settled, odd, torn, odd_chat = chats = [Chat("", new_chat()) for _ in range(5)]
    runs = [await begun(store, chat) for chat in chats]
    async with Redis.from_url(redis_url) as redis:
        await redis.hdel(settled.key, "run_id")
        await redis.set(odd.events(runs[2].run_id), "no stream")
        await redis.set(odd_chat.key, "no hash")
    firsts = [1, 1, 1, 5, 1]
    written = await store.log.append(
        [news(chat, run, first, "a", "b") for chat, run, first in zip(chats, runs, firsts, strict=True)]
    )
    assert written == [2, -1, 2, 0, -1]
    assert await said(store, well, runs[0]) == await said(store, odd, runs[2]) == [Text("a"), Text("b")]
    assert [await said(store, chat, run) for chat, run in ((settled, runs[1]), (torn, runs[3]))] == [[], []]


async def test_a_round_that_is_sent_twice_is_written_once(store: Store, chat_id: str) -> None:
    chat = Chat("", chat_id)
    run = await begun(store, chat)
    first, both = news(chat, run, 1, "a", "b"), news(chat, run, 1, "a", "b", "c")
    assert await store.log.append([first]) == await store.log.append([first]) == [2]
    assert await store.log.append([both]) == [3]
    assert await said(store, chat, run) == [Text("a"), Text("b"), Text("c")]


async def test_a_round_of_more_runs_than_one_script_takes(store: Store, new_chat: Callable[[], str]) -> None:
    chats = [Chat("", new_chat()) for _ in range(AT_ONCE * 2 + 1)]
    runs = [await begun(store, chat) for chat in chats]
    texts = [f"text {n}" for n in range(len(chats))]
    rows = zip(chats, runs, texts, strict=True)
    assert await store.log.append([news(chat, run, 1, text) for chat, run, text in rows]) == [1] * len(chats)
    found = [await said(store, chat, run) for chat, run in zip(chats, runs, strict=True)]
    assert found == [[Text(text)] for text in texts]
