"""Waiting for the end of a run: the bell that tells of it may come before anybody waits."""

import asyncio

import pytest

from app.chat import awaited as awaiting
from app.settings import Settings
from app.store.keys import Chat
from app.store.store import Store
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT


async def test_a_bell_that_came_before_anybody_waited_is_remembered(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama.default = HELD
    settings = Settings.model_validate({"redis_url": cluster.redis_url})
    async with Store(settings) as store, client.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        chat = Chat("", chat_id)
        live = (await store.memory.state(chat)).live
        assert live
        await client.stop(chat_id, wait=5000)
        await stream.rest()
        awaited = awaiting.Awaited(store)
        monkeypatch.setattr(awaiting, "LOOK_SECONDS", 1000)  # only the bell makes it look
        store.bells.on_end(live.attempt)
        async with asyncio.timeout(20):
            ending = await awaited.wait(chat, live, 1000)
    assert ending
    assert (ending.outcome, ending.backend) == ("stopped", live.backend)
