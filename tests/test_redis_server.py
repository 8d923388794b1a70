"""The private Redis of the tests keeps, loses and freezes as told."""

import asyncio
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.world.redis_server import PrivateRedis, connect


async def test_an_append_only_redis_keeps_its_data_over_a_crash(where: Path) -> None:
    async with PrivateRedis(where, "--appendonly", "yes", "--appendfsync", "always") as server:
        async with connect(server.url) as client:
            await client.set("kept", "yes")
        await server.restart(SIGKILL)
        async with connect(server.url) as client:
            assert await client.get("kept") == "yes"


async def test_a_frozen_redis_answers_when_thawed(where: Path) -> None:
    async with PrivateRedis(where) as server, connect(server.url) as client:
        server.freeze()
        question = asyncio.ensure_future(client.ping())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(question), 0.2)
        server.thaw()
        assert await question
