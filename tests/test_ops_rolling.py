"""A restart of the backends, one after the other, that nobody notices."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from functools import partial
from signal import SIGCONT, SIGSTOP, SIGTERM

import pytest

from tests.world.cluster import Cluster
from tests.world.crowd import Crowd
from tests.world.waiting import eventually

pytestmark = pytest.mark.timeout(300)
SETTINGS = {"PROVIDER": "demo", "DEMO_TOKENS_PER_SECOND": "5000", "REDIS_PREFIX": "rolling:",
            "MEMORY_MAX_CONVERSATIONS": "100000"}  # fmt: skip
BODY = json.dumps({"message": "hello"}).encode()
HEAD = b"POST /api/v1/chat/at-the-door-%d HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%b"


@pytest.fixture(scope="module")
async def the_rolling(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("rolling"), redis_url, env=SETTINGS) as cluster:
        yield cluster


@pytest.fixture
async def rolling(the_rolling: Cluster) -> AsyncIterator[Cluster]:
    yield the_rolling
    await the_rolling.heal()


async def test_a_rolling_restart_under_load_fails_no_request(rolling: Cluster) -> None:
    crowd = Crowd(rolling.port)
    living = asyncio.create_task(crowd.live(people=10))
    for n in rolling.numbers:
        enough = crowd.answered.total() + 50
        await eventually(partial(at_least, crowd, enough), within=60)
        rolling.signal(n, SIGTERM)
        assert await rolling.backends[n].wait(60) == 0
        await rolling.start_again(n)
    crowd.leaving = True
    await living
    assert not crowd.wrong
    assert {kind for kind, *_ in crowd.requests("any")} <= set(crowd.answered)


@pytest.mark.parametrize("more", [b"X-Passes-On: 1\r\n", b""], ids=["behind Nginx", "alone"])
async def test_who_stands_at_the_door_when_a_backend_leaves_is_answered(
    rolling: Cluster, more: bytes
) -> None:
    rolling.signal(1, SIGSTOP)  # the kernel goes on to accept
    waiting = [connected(rolling, number, more) for number in range(20)]
    rolling.signal(1, SIGTERM)
    rolling.signal(1, SIGCONT)
    for one in waiting:
        answer = await asyncio.to_thread(read, one)
        assert_answered(answer, handed_back=bool(more))
    assert await rolling.backends[1].wait(60) == 0


async def test_who_has_connected_only_just_now_may_still_ask(rolling: Cluster) -> None:
    for number in range(5):
        lives, began = rolling.backends[1].output.count("| leaving"), time.monotonic()
        with socket.create_connection(("127.0.0.1", rolling.ports[1])) as one:
            rolling.signal(1, SIGTERM)
            await eventually(partial(left_again, rolling, lives))
            await asyncio.sleep(0.3)  # uvicorn closes what is idle within a tenth of a second
            one.sendall(request(number, b"X-Passes-On: 1\r\n"))
            in_time = time.monotonic() - began < 1
            answer = await asyncio.to_thread(read, one)
        assert await rolling.backends[1].wait(60) == 0
        if answer or in_time:
            assert_answered(answer, handed_back=True)
            return
        await rolling.heal()  # this machine was too slow to ask within the second there is
    pytest.skip("this machine is too slow to ask within a second")


def left_again(cluster: Cluster, lives: int) -> bool:
    return cluster.backends[1].output.count("| leaving") > lives


def at_least(crowd: Crowd, answers: int) -> bool:
    return crowd.answered.total() >= answers


def request(number: int, more: bytes) -> bytes:
    return HEAD % (number, more) + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def connected(cluster: Cluster, number: int, more: bytes) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", cluster.ports[1]), 60)
    one.sendall(request(number, more))
    return one


def read(one: socket.socket) -> bytes:
    answer = b""
    with one, contextlib.suppress(ConnectionResetError):
        while part := one.recv(65536):
            answer += part
    return answer


def assert_answered(answer: bytes, *, handed_back: bool) -> None:
    """Either handed back to Nginx, or refused as what slips in; or answered, if it came before the signal."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200"):
        assert b"data: [DONE]" in body
        return
    assert head.startswith(b"HTTP/1.1 503"), answer
    assert (b"x-accel-redirect: @another" in head.lower()) is handed_back
    assert handed_back or json.loads(body)["code"] == "draining"
