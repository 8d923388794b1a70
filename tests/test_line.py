"""The line before a busy model: never two at once, fair, told, stoppable while waiting, over all backends."""

import asyncio
import itertools
import math
import statistics
from collections.abc import AsyncIterator
from pathlib import Path
from signal import Signals

import pytest

from app.clock import LINE_SECONDS
from tests.conftest import ollama_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.doors import DOORS
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Reply
from tests.world.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
async def busy(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    env = ollama_env(the_ollama) | {
        "MODEL_PARALLEL": "1",
        "QUEUE_MAX": "30",
        "API_KEYS": "anna:anna-key,bob:bob-key-1",
        "REDIS_PREFIX": "line:",
    }
    where: Path = tmp_path_factory.mktemp("line")
    async with Cluster(where, redis_url, env=env) as cluster:
        yield cluster


def as_(client: Client, key: str) -> Client:
    client.http.headers["Authorization"] = f"Bearer {key}"
    return client


async def test_thirty_chats_over_three_backends_never_meet_at_the_model(
    busy: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    ollama.default = Reply(tokens=["a", "b", "c"], pace=0.01)
    ollama.exchanges.clear()
    async with busy.client() as client:
        as_(client, "anna-key")
        streams = await asyncio.gather(*(client.ask(f"{chat_id}-{n}", "hello") for n in range(30)))
    assert all(stream.end["outcome"] == "done" for stream in streams)
    calls = sorted((one for one in ollama.exchanges), key=lambda one: one.opened_at)
    assert len(calls) == 30
    gaps = [after.opened_at - (before.said_at or math.inf) for before, after in itertools.pairwise(calls)]
    assert min(gaps) >= 0, "two at once"
    told = f"between two calls, ms: p50 {statistics.median(gaps) * 1000:.1f}, most {max(gaps) * 1000:.1f}"
    print(told)
    assert statistics.median(gaps) < LINE_SECONDS / 2, f"nobody was called, all looked: {told}"
    waited = [stream for stream in streams if stream.of("queue")]
    assert len(waited) >= 25
    for stream in waited:
        positions = [event["position"] for event in stream.of("queue")]
        assert positions == sorted(positions, reverse=True)
        assert all(event["waited_ms"] >= 0 and event["ahead"] >= 1 for event in stream.of("queue"))


async def test_somebody_with_many_waiting_stands_behind_the_first_of_another(
    busy: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    ollama.default = HELD
    async with busy.client() as anna, busy.client() as bob:
        as_(anna, "anna-key"), as_(bob, "bob-key-1")
        async with anna.chat(f"{chat_id}-0", "hello") as first:
            await first.until_text(HELD_TEXT)
            waiting = [asyncio.create_task(anna.ask(f"{chat_id}-{n}", "hello")) for n in range(1, 6)]
            await eventually(lambda: _running(anna, 6))
            async with bob.chat(chat_id, "hello") as his:
                await eventually(lambda: _running(bob, 1))
                line = (await bob.get("/api/v1/status"))["line"]
                assert line == {"limit": 1, "working": 1, "waiting": 6}
                ollama.default = Reply(tokens=["x"])
                assert (await anna.stop(f"{chat_id}-0", wait=5000))["result"] == "stopped"
                await his.rest()
                assert his.of("queue")[0]["position"] <= 2
            streams = await asyncio.gather(*waiting)
        assert {stream.end["outcome"] for stream in streams} == {"done"}


async def test_a_waiting_reply_is_stopped_at_once_and_leaves_its_place(
    busy: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    ollama.default = HELD
    async with busy.client() as client:
        as_(client, "anna-key")
        async with client.chat(f"{chat_id}-0", "hello") as first:
            await first.until_text(HELD_TEXT)
            calls = len(ollama.exchanges)
            async with client.chat(f"{chat_id}-1", "hello") as second:
                await eventually(lambda: _running(client, 2))
                answer = await client.stop(f"{chat_id}-1", wait=5000)
                assert answer["result"] == "stopped"
                await second.rest()
                assert second.end["outcome"] == "stopped"
            assert len(ollama.exchanges) == calls
            await client.stop(f"{chat_id}-0", wait=5000)
            await first.rest()
        ollama.default = Reply(tokens=["x"])
        assert (await client.ask(chat_id, "again")).end["outcome"] == "done"


async def test_a_full_line_refuses_before_the_stream(busy: Cluster, ollama: FakeOllama, chat_id: str) -> None:
    ollama.default = HELD
    async with busy.client() as client:
        as_(client, "anna-key")
        tasks = [asyncio.create_task(client.ask(f"{chat_id}-{n}", "hello")) for n in range(31)]
        await eventually(lambda: _running(client, 31), within=30)
        refused = await client.http.post(f"/api/v1/chat/{chat_id}-x", json={"message": "hello"})
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) > 0
        ollama.default = Reply(tokens=["x"])
        for n in range(31):
            await client.stop(f"{chat_id}-{n}", wait=5000)
        await asyncio.gather(*tasks)


async def test_the_next_one_starts_when_the_backend_of_the_working_one_is_killed(
    tmp_path: Path, redis_url: str, ollama: FakeOllama, chat_id: str
) -> None:
    env = ollama_env(ollama) | {"MODEL_PARALLEL": "1", "REDIS_PREFIX": "killed:"}
    async with Cluster(tmp_path, redis_url, env=env, backends=2) as cluster:
        ollama.default = HELD
        async with cluster.client(1) as one, cluster.client(2) as two, one.chat(chat_id, "hello") as first:
            await first.until_text(HELD_TEXT)
            ollama.default = Reply(tokens=["x"])
            waiting = asyncio.create_task(two.ask(f"{chat_id}-2", "hello"))
            await eventually(lambda: _running(two, 2))
            cluster.backends[1].signal(Signals.SIGKILL)
            assert (await waiting).end["outcome"] == "done"


@pytest.mark.parametrize("setting", ["KEY_MAX_RUNS", "KEY_MESSAGES_PER_MINUTE"])
async def test_a_key_has_a_limit_of_its_own(
    tmp_path: Path, redis_url: str, ollama: FakeOllama, chat_id: str, setting: str
) -> None:
    most = 2
    env = ollama_env(ollama) | {setting: str(most), "REDIS_PREFIX": f"{setting}:"}
    async with Cluster(tmp_path, redis_url, env=env, backends=1) as cluster, cluster.client(1) as client:
        ollama.default = HELD
        tasks = [asyncio.create_task(client.ask(f"{chat_id}-{n}", "hello")) for n in range(most)]
        await eventually(lambda: _running(client, most))
        refused = await client.http.post(f"/api/v1/chat/{chat_id}-x", json={"message": "hello"})
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 0
        for name in DOORS:
            await _is_refused_at(client, name, chat_id)
        for n in range(most):
            await client.stop(f"{chat_id}-{n}", wait=5000)
        await asyncio.gather(*tasks)


async def _is_refused_at(client: Client, name: str, chat_id: str) -> None:
    """With the same word at every door, under /v1/ in the shape that is read there."""
    path, asked = DOORS[name].path(chat_id, "general"), DOORS[name].body(chat_id, "general", "hello")
    refused = await client.http.post(path, json=asked)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited"), name
    assert int(refused.headers["Retry-After"]) > 0, name
    if path.startswith("/v1/"):
        assert refused.json()["error"]["message"] == refused.json()["detail"]
        assert refused.json()["error"]["code"] == "rate_limited"


async def _running(client: Client, count: int) -> bool:
    return bool((await client.get("/api/v1/runs"))["count"] == count)


async def test_one_address_has_a_share_of_the_replies_that_nobody_reads(
    tmp_path: Path, redis_url: str, ollama: FakeOllama, chat_id: str
) -> None:
    env = ollama_env(ollama) | {"MAX_RUNS": "40", "REDIS_PREFIX": "unread:"}
    async with Cluster(tmp_path, redis_url, env=env, backends=1) as cluster, cluster.client(1) as client:
        ollama.default = HELD
        for n in range(20):  # half
            async with client.chat(f"{chat_id}-{n}", "hello") as stream:
                await stream.until_text(HELD_TEXT)
        tried = itertools.count()

        async def refused() -> bool:
            async with client.chat(f"{chat_id}-more-{next(tried)}", "hello") as stream:
                return stream.status == 503

        await eventually(refused)
        ollama.default = Reply(tokens=["x"])
        other = {"X-Forwarded-For": "192.0.2.7"}
        body = {"message": "hello"}
        answer = await client.http.post(f"/api/v1/chat/{chat_id}-other", json=body, headers=other)
        assert answer.status_code == 200
        for n in range(20):
            await client.stop(f"{chat_id}-{n}", wait=5000)
        assert (await client.ask(f"{chat_id}-again", "hello")).end["outcome"] == "done"
