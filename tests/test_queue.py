"""Turns at a busy model: fair, bounded, and never lost with whoever held them. Against a real Redis."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from app.settings import Settings
from app.store import queue
from app.store.queue import Place, Queue
from app.store.wire.connection import Connection
from app.store.wire.script import Script
from tests.world.redis_server import PrivateRedis, connect
from tests.world.waiting import eventually

SCRIPTS = [one for one in vars(queue).values() if isinstance(one, Script)]
TURN = Place("turn")


@pytest.fixture(scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateRedis]:
    async with PrivateRedis(tmp_path_factory.mktemp("queue")) as server:
        yield server


@pytest.fixture
async def connection(redis: PrivateRedis) -> AsyncIterator[Connection]:
    settings = Settings.model_validate({"redis_url": redis.url})
    opened = Connection(settings, SCRIPTS)
    async with connect(redis.url) as client:
        await client.flushall()
    try:
        yield opened
    finally:
        await opened.__aexit__()


def one_at_a_time(connection: Connection, *, most: int = 100, owner_most: int = 0) -> Queue:
    return Queue(connection, "process", parallel=1, most=most, owner_most=owner_most)


async def test_the_first_has_its_turn_and_the_others_stand_in_line(connection: Connection) -> None:
    turns = one_at_a_time(connection)
    assert await turns.enter("a", "") == TURN
    assert await turns.enter("b", "") == Place("waiting", 1, 1)
    assert await turns.enter("c", "") == Place("waiting", 2, 2)
    assert await turns.look("c") == Place("waiting", 2, 2)
    assert await turns.leave("a") == [("process", "b")]
    assert await turns.look("c") == Place("waiting", 2, 1)
    assert await turns.look("b") == TURN
    assert await turns.look("c") == Place("waiting", 1, 1)
    assert await turns.counts() == (1, 1)


async def test_asking_twice_changes_nothing(connection: Connection) -> None:
    turns = one_at_a_time(connection)
    for _ in range(2):
        assert await turns.enter("a", "") == TURN
        assert await turns.enter("b", "") == Place("waiting", 1, 1)
        assert await turns.look("a") == TURN
    for _ in range(2):
        assert await turns.leave("a") == [("process", "b")]


async def test_somebody_with_many_stands_behind_the_first_of_everybody_else(connection: Connection) -> None:
    turns = one_at_a_time(connection)
    for n in range(20):
        await turns.enter(f"busy-{n}", "busy")
    await turns.enter("guest", "guest")
    order = ["busy-0"]
    while called := await turns.leave(order[-1]):
        ((_, attempt),) = called
        assert await turns.look(attempt) == TURN
        order.append(attempt)
    assert order.index("guest") == 1
    assert [one for one in order if one != "guest"] == [f"busy-{n}" for n in range(20)]


async def test_who_comes_new_does_not_overtake_who_has_waited_as_the_first_of_its_owner(
    connection: Connection,
) -> None:
    turns = one_at_a_time(connection)
    await turns.enter("works", "x")
    await turns.enter("first", "a")
    for n in range(5):
        await turns.enter(f"later-{n}", f"owner-{n}")
    assert (await turns.look("first")).position == 1


async def test_a_queue_and_an_owner_have_their_limits(connection: Connection) -> None:
    turns = one_at_a_time(connection, most=2, owner_most=2)
    assert (await turns.enter("a", "x")).state == "turn"
    assert (await turns.enter("b", "x")).state == "waiting"
    assert (await turns.enter("c", "x")).state == "limited"
    assert (await turns.enter("d", "y")).state == "waiting"
    assert (await turns.enter("e", "z")).state == "full"
    assert (await turns.enter("b", "x")).state == "waiting", "who is in may ask again"
    await turns.leave("b")
    assert (await turns.enter("e", "z")).state == "waiting"


async def test_with_no_room_to_wait_there_are_still_turns(connection: Connection) -> None:
    turns = one_at_a_time(connection, most=0)
    assert await turns.enter("a", "") == TURN
    assert (await turns.enter("b", "")).state == "full"


async def test_who_waits_may_leave_and_the_others_move_up(connection: Connection) -> None:
    turns = one_at_a_time(connection)
    for attempt in "abcd":
        await turns.enter(attempt, "")
    assert await turns.leave("b") == []
    assert await turns.look("c") == Place("waiting", 1, 1)
    assert await turns.look("b") == Place("unknown")
    assert await turns.leave("nobody") == []


async def test_a_place_that_nobody_renews_is_free_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = one_at_a_time(connection)
    monkeypatch.setattr(queue, "PLACE_SECONDS", 0.2)
    await turns.enter("dead", "")
    await turns.enter("dead too", "")
    monkeypatch.setattr(queue, "PLACE_SECONDS", 60.0)
    await turns.enter("alive", "")

    async def its_turn() -> bool:
        return await turns.look("alive") == TURN

    await eventually(its_turn)
    assert await turns.renew(["dead", "alive"]) == 1
    assert await turns.look("dead") == Place("unknown")


async def test_a_redis_that_forgot_everything_lets_them_enter_again(
    connection: Connection, redis: PrivateRedis
) -> None:
    turns = one_at_a_time(connection)
    await turns.enter("a", "")
    await turns.enter("b", "")
    async with connect(redis.url) as client:
        await client.flushall()
    assert await turns.look("b") == Place("unknown")
    assert await turns.enter("b", "") == TURN
    assert await turns.enter("a", "") == Place("waiting", 1, 1)


async def test_nothing_is_left_of_an_empty_queue(connection: Connection, redis: PrivateRedis) -> None:
    turns = one_at_a_time(connection)
    for attempt in "abc":
        await turns.enter(attempt, attempt)
    for attempt in "abc":
        await turns.leave(attempt)
    async with connect(redis.url) as client:
        assert await client.keys("*queue*") == []


@pytest.mark.parametrize("parallel", [1, 3])
async def test_never_more_at_once_than_may_and_everybody_has_a_turn(
    connection: Connection, parallel: int
) -> None:
    words = random.Random(parallel)
    backends = [Queue(connection, f"p{n}", parallel=parallel, most=100) for n in range(3)]
    working: set[str] = set()
    most = 0
    bells: dict[str, asyncio.Event] = {f"run-{n}": asyncio.Event() for n in range(30)}

    async def run(attempt: str, turns: Queue, owner: str) -> None:
        nonlocal most
        place = await turns.enter(attempt, owner)
        while place != TURN:
            assert place.state == "waiting"
            await bells[attempt].wait()
            bells[attempt].clear()
            place = await turns.look(attempt)
        working.add(attempt)
        most = max(most, len(working))
        await asyncio.sleep(words.random() / 200)
        working.remove(attempt)
        for _, other in await turns.leave(attempt):
            bells[other].set()

    async with asyncio.TaskGroup() as group:
        for attempt in bells:
            group.create_task(run(attempt, words.choice(backends), words.choice("abc")))
    assert most == parallel
