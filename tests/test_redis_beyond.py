"""Redis with TLS, behind Sentinels and as a Cluster: the same product, also while a primary dies."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from redis.crc import key_slot

from app.settings.redis_url import read
from app.store.keys import Chat
from tests.conftest import ollama_env
from tests.test_ops_doctor import doctor
from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.invariants import Witness, assert_chat_holds, assert_invariants
from tests.world.redis_server import PrivateRedis, connect
from tests.world.redis_setups import Setup, guarded, in_step, move_slot, owners, said, secure, sharded
from tests.world.waiting import eventually

SETUPS = {"tls": secure, "sentinel": guarded, "cluster": sharded}
FAILOVER_SECONDS = 30


@dataclass
class Beyond:
    """Three backends on one of the set-ups."""

    setup: Setup
    cluster: Cluster
    ollama: FakeOllama

    async def assert_well(self, *witnesses: Witness) -> None:
        """The invariants hold on every primary, and nothing was forbidden to the ACL user."""
        for server in await self.setup.primaries():
            self.cluster.redis_url = server.url
            await assert_invariants(self.cluster, witnesses, models=[self.ollama])
        assert await self.setup.denied() == []


@pytest.fixture(scope="module", params=SETUPS)
async def the_beyond(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, the_ollama: FakeOllama
) -> AsyncIterator[Beyond]:
    where = tmp_path_factory.mktemp(request.param)
    env_of = {1: {"STOP_POLL_MS": "10000"}}  # only a bell is in time there
    async with (
        SETUPS[request.param](where) as setup,
        Cluster(where, setup.url, env=ollama_env(the_ollama), env_of=env_of) as cluster,
    ):
        yield Beyond(setup, cluster, the_ollama)


@pytest.fixture
def beyond(the_beyond: Beyond, ollama: FakeOllama) -> Beyond:
    return the_beyond


async def test_a_reply_made_on_one_backend_is_stopped_and_resumed_through_others(
    beyond: Beyond, new_chat: Callable[[], str]
) -> None:
    beyond.ollama.default = FLOWING
    witness = Witness(new_chat())
    chat_id = witness.chat_id
    async with (
        beyond.cluster.client(1) as one,
        beyond.cluster.client(2) as two,
        beyond.cluster.client(3) as three,
    ):
        async with one.chat(chat_id, "hello") as stream, three.attach(chat_id) as follower:
            witness.saw(stream, "hello")
            witness.saw(follower)
            await asyncio.gather(stream.until_text("word9 "), follower.until_text("word5 "))
            answer = await two.stop(chat_id, wait=5000)
            assert (answer["result"], answer["backend"]) == ("stopped", "backend-1")
            assert ((await stream.rest()).outcome, (await follower.rest()).outcome) == ("stopped", "stopped")
        resumed = await three.replay(chat_id, last_id=follower.frames[4].id)
        witness.saw(resumed)
        assert [frame.id for frame in resumed.frames] == [frame.id for frame in stream.frames[5:]]
        beyond.ollama.default = Reply()
        witness.saw(await two.ask(chat_id, "next"), "next")
    await beyond.assert_well(witness)


async def test_stops_arrive_by_bell_wherever_the_chat_lies(
    beyond: Beyond, new_chat: Callable[[], str]
) -> None:
    beyond.ollama.default = HELD
    async with (
        beyond.cluster.client(1) as one,
        beyond.cluster.client(2) as two,
        beyond.cluster.client(3) as three,
    ):
        await eventually(lambda: all_healthy([one, two, three]), within=20, every=0.1)
        for chat_id in [new_chat() for _ in range(6)]:
            async with one.chat(chat_id, "hello") as stream:
                await stream.until_text(HELD_TEXT)
                assert (await three.stop(chat_id, wait=3000))["result"] == "stopped"
                assert (await stream.rest()).outcome == "stopped"
    await beyond.assert_well()


async def test_the_lists_and_the_status_page_work_everywhere(
    beyond: Beyond, new_chat: Callable[[], str]
) -> None:
    ids = [new_chat() for _ in range(8)]
    async with beyond.cluster.client(1) as one, beyond.cluster.client(2) as two:
        await asyncio.gather(*(one.ask(chat_id, "hello") for chat_id in ids))
        chats = (await two.get("/api/v1/chats?limit=200"))["chats"]
        assert set(ids) <= {chat["chat_id"] for chat in chats}
        status = await two.get("/api/v1/status")
        assert [backend["backend"] for backend in status["backends"]] == [
            "backend-1",
            "backend-2",
            "backend-3",
        ]
        assert status["redis"]["version"]
        assert (await two.http.delete(f"/api/v1/chat/{ids[0]}")).status_code == 200
        bulk = await two.http.post("/api/v1/stop/bulk", json={"chat_ids": ids})
        assert bulk.json()["successful"] == len(ids)
    await beyond.assert_well()


@pytest.mark.parametrize("the_beyond", ["cluster"], indirect=True)
async def test_a_backend_that_dies_is_settled_by_the_others(beyond: Beyond, chat_id: str) -> None:
    beyond.ollama.default = HELD
    async with beyond.cluster.client(1) as one, beyond.cluster.client(2) as two:
        async with one.chat(chat_id, "hello") as stream:
            await stream.until_text(HELD_TEXT)
            async with two.attach(chat_id) as follower:
                await follower.until_text(HELD_TEXT)
                await beyond.cluster.kill(1)
                assert (await follower.rest()).backend_lost
        beyond.ollama.default = Reply()
        assert (await two.ask(chat_id, "next")).outcome == "done"
    await beyond.cluster.start_again(1)
    await beyond.assert_well()


async def test_a_reply_that_no_list_leads_to_is_found_by_its_chat_and_settled(
    beyond: Beyond, chat_id: str
) -> None:
    beyond.ollama.default = HELD
    async with beyond.cluster.client(1) as one, one.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        await beyond.cluster.kill(1)
        for server in await beyond.setup.primaries():
            async with connect(server.url) as client:
                for pattern in ("chats", "held:*"):
                    for key in [key async for key in client.scan_iter(pattern)]:
                        await client.delete(key)
    async with connect((await owner_of(beyond.setup, chat_id)).url) as client:
        await eventually(lambda: _rests(client, chat_id), within=60)
    beyond.ollama.default = Reply()
    await beyond.cluster.start_again(1)
    await beyond.assert_well()


@pytest.mark.parametrize("the_beyond", ["sentinel", "cluster"], indirect=True)
async def test_when_a_primary_dies_no_accepted_message_is_lost_and_every_reply_ends_once(
    beyond: Beyond, new_chat: Callable[[], str]
) -> None:
    beyond.ollama.default = Reply(tokens=200, pace=0.02)
    witnesses = [Witness(new_chat()) for _ in range(9)]
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(beyond.cluster.client(n)) for n in beyond.cluster.numbers]
        streams = [await begun(stack, people[n % 3], witness) for n, witness in enumerate(witnesses)]
        followers = [
            await followed(stack, people[(n + 1) % 3], witness) for n, witness in enumerate(witnesses)
        ]
        victim = await owner_of(beyond.setup, witnesses[0].chat_id)
        await victim.program.end(SIGKILL)
        await refused_in_time(people[0], witnesses[0].chat_id)
        await asyncio.gather(*(reader.rest() for reader in (*streams, *followers)))
        assert [(stream.outcome, stream.text) for stream in streams] == [
            ("done", beyond.ollama.default.text)
        ] * 9
        assert {follower.outcome for follower in followers} == {"done"}
        await eventually(lambda: all_healthy(people), within=FAILOVER_SECONDS, every=0.1)
        assert victim not in await beyond.setup.primaries()
        beyond.ollama.default = Reply()
        for n, witness in enumerate(witnesses):
            witness.saw(await people[n % 3].ask(witness.chat_id, "next"), "next")
        beyond.ollama.default = HELD
        async with people[0].chat(witnesses[0].chat_id, "and stop") as stream:
            await stream.until_text(HELD_TEXT)
            assert (await people[1].stop(witnesses[0].chat_id, wait=3000))["result"] == "stopped"
    await beyond.assert_well(*witnesses)
    await victim.start()
    await eventually(lambda: follows(victim), within=FAILOVER_SECONDS, every=0.1)
    await beyond.assert_well(*witnesses)


@pytest.mark.parametrize("the_beyond", ["sentinel", "cluster"], indirect=True)
async def test_a_message_and_its_reply_count_once_a_replica_has_them(
    beyond: Beyond, new_chat: Callable[[], str]
) -> None:
    async with beyond.cluster.client(1) as one:
        before = await waited(beyond.setup)
        assert (await one.ask(new_chat(), "hello")).outcome == "done"
        assert await waited(beyond.setup) >= before + 2
        primaries = await beyond.setup.primaries()
        replicas = [server for server in beyond.setup.servers if server not in primaries]
        for replica in replicas:
            replica.freeze()
        try:
            assert (await one.ask(new_chat(), "hello")).outcome == "done"
        finally:
            for replica in replicas:
                replica.thaw()
    await beyond.assert_well()


@pytest.mark.parametrize("the_beyond", ["cluster"], indirect=True)
async def test_a_chat_whose_keys_move_to_another_node_goes_on(beyond: Beyond, chat_id: str) -> None:
    beyond.ollama.default = Reply(tokens=200, pace=0.01)
    witness = Witness(chat_id)
    async with beyond.cluster.client(1) as one, beyond.cluster.client(2) as two:
        async with contextlib.AsyncExitStack() as stack:
            stream = await begun(stack, one, witness)
            follower = await followed(stack, two, witness)
            async for _ in move_slot(beyond.setup, key_slot(f"{{{chat_id}}}".encode())):
                seen = len(stream.frames)
                await stream.until(lambda s, seen=seen: len(s.frames) > seen + 10)  # type: ignore[misc]
            assert [(await reader.rest()).outcome for reader in (stream, follower)] == ["done", "done"]
        beyond.ollama.default = Reply()
        witness.saw(await two.ask(chat_id, "next"), "next")
        await assert_chat_holds(two, witness)
    await beyond.assert_well(witness)


MALFORMED = [
    "http://canary@redis",
    "redis://",
    "redis://canary@one,two",
    "redis://:canary#1@redis",
    "redis://:canary@redis:99999",
    "redis://:canary@redis/first",
    "redis://:canary@redis?ssl_ca_certs=/etc/hosts",
    "rediss://:canary@redis?ssl_ca_certs=/no/such/canary",
    "rediss://:canary@redis?ssl_cert_reqs=sometimes",
    "redis://:canary@redis?socket_timeout=100",
    "redis+sentinel://:canary@one,two",
    "redis+sentinel://:canary@one,,two/mymaster",
    "redis+cluster://:canary@one,two/3",
    "redis+canary://one",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_told_in_one_line_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"^REDIS_URL[^\n]*$") as told:
        read(url)
    assert "canary" not in str(told.value)


def test_a_url_says_what_redis_it_is(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.touch()
    assert read("redis://u:p%40@[::1]/3").url == "redis://u:p%40@[::1]:6379/3?"
    assert read("unix:///run/redis.sock?db=1").url == "unix:///run/redis.sock?db=1"
    place = read(f"rediss+sentinel://u:p@one:1,two/main/2?sentinel_password=s&ssl_ca_certs={ca}")
    assert (place.kind, place.hosts, place.service) == ("sentinel", (("one", 1), ("two", 26379)), "main")
    assert place.sentinel_login == {"password": "s"}
    assert place.url.startswith("rediss://u:p@one:1/2?ssl_ca_certs=")
    assert read("redis+cluster://one,two:7001/0").hosts == (("one", 6379), ("two", 7001))
    assert "p%40" not in repr(read("redis://u:p%40@redis"))


async def begun(stack: contextlib.AsyncExitStack, person: Client, witness: Witness) -> Stream:
    """A stream in the middle of its reply."""
    stream = await stack.enter_async_context(person.chat(witness.chat_id, "hello"))
    assert stream.status == 200
    witness.saw(stream, "hello")
    return await stream.until_text("word5 ")


async def followed(stack: contextlib.AsyncExitStack, person: Client, witness: Witness) -> Stream:
    """A reader on another backend than the one that makes the reply."""
    follower = await stack.enter_async_context(person.attach(witness.chat_id))
    witness.saw(follower)
    return await follower.until_text("word3 ")


async def owner_of(setup: Setup, chat_id: str) -> PrivateRedis:
    """The primary that holds this chat."""
    primaries = await setup.primaries()
    if len(primaries) == 1:
        return primaries[0]
    port = (await owners(primaries[0]))[key_slot(f"{{{chat_id}}}".encode())]
    return next(server for server in primaries if server.port == port)


async def test_the_doctor_logs_in_as_the_service_does(beyond: Beyond, tmp_path: Path) -> None:
    primaries = await beyond.setup.primaries()
    try:
        for server in primaries:
            await said(server, "ACL", "SETUSER", "default", "-info")
        report = await asyncio.to_thread(doctor, tmp_path, REDIS_URL=beyond.setup.url)
    finally:
        for server in primaries:
            await said(server, "ACL", "SETUSER", "default", "+info")
            await said(server, "ACL", "LOG", "RESET")  # a Sentinel may have been refused meanwhile
    assert "ok    redis: version" in report.stdout, report.stdout + report.stderr


async def waited(setup: Setup) -> int:
    """How often a primary was asked to wait for a replica."""
    calls = 0
    for server in await setup.primaries():
        async with connect(server.url) as client:
            calls += (await client.info("commandstats")).get("cmdstat_wait", {"calls": 0})["calls"]
    return calls


async def refused_in_time(person: Client, chat_id: str) -> None:
    """What cannot be stored now is refused, and soon."""
    asked = time.monotonic()
    async with person.chat(chat_id, "refused") as refused:
        assert (refused.status, refused.response.json()["code"]) == (503, "redis_unavailable")
    assert time.monotonic() - asked < 5


async def _rests(redis: Any, chat_id: str) -> bool:
    return await redis.hget(Chat("", chat_id).key, "run") is None


async def all_healthy(people: Sequence[Client]) -> bool:
    health = [await person.http.get("/health") for person in people]
    return all(one.status_code == 200 and one.json()["stop_listener"] == "listening" for one in health)


async def follows(server: PrivateRedis) -> bool:
    """Whether the server has come back as a replica and has caught up."""
    try:
        return await in_step(server)
    except KeyError:  # it still takes itself for a primary
        return False
