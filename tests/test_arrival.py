"""How requests come in on the wire: what is too large, too slow or no HTTP is told so, in the same words by
Nginx and by a backend alone, and costs neither memory nor a place.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from app.api.arrival import Arrivals, Gone, Refused
from tests.world.client import Client
from tests.world.cluster import Cluster

KIB = 1024


async def told(port: int, *pieces: bytes) -> bytes:
    """All that comes back for these bytes until the server closes, even while we still send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        async with asyncio.timeout(60):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            answer = await reader.read()
    except ConnectionError:
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer


def assert_problem(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"content-type: application/problem+json" in head.lower()
    problem = json.loads(body)
    assert problem["status"] == status
    assert f"x-request-id: {problem['request_id']}".encode() in head.lower()
    assert problem["detail"]
    assert "canary" not in body.decode()


GET = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
NO_HTTP = {
    "a control character": (400, GET + b"X-A: canary\x01\r\n\r\n"),
    "an escape": (400, GET + b"X-A: \x1b[31mcanary\r\n\r\n"),
    "nonsense": (400, b"canary\r\n\r\n"),
    "a bad chunk": (400,
    b"POST /chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
}  # fmt: skip
FOR_NGINX = {
    "another version": (505, b"GET / HTTP/3.0\r\nHost: x\r\n\r\n"),
    "another encoding": (501,
    b"POST /chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: canary\r\n\r\n"),
    "TRACE": (405, b"TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    "an odd method": (405, b"PROPFIND /chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    "figures": (404, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    "figures, hidden": (404, b"GET //%6detrics/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_HTTP)
async def test_what_is_no_http_is_a_problem_from_either_layer(cluster: Cluster, name: str) -> None:
    status, request = NO_HTTP[name]
    for port in (cluster.port, cluster.ports[1]):
        assert_problem(await told(port, request), status)


@pytest.mark.parametrize("name", FOR_NGINX)
async def test_what_nginx_does_not_pass_on_is_a_problem_too(cluster: Cluster, name: str) -> None:
    status, request = FOR_NGINX[name]
    answer = await told(cluster.port, request)
    assert_problem(answer, status)
    assert (b"\r\nAllow: " in answer) == (status == 405)


async def test_many_requests_of_one_connection_are_not_one_large_header(cluster: Cluster) -> None:
    request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * KIB + b"\r\n\r\n"
    answers = await told(
        cluster.ports[1], *[request] * 99, request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )
    assert answers.count(b"HTTP/1.1 200 ") == 100


async def test_headers_without_end_are_cut_and_cost_no_memory(cluster: Cluster, client: Client) -> None:
    process = cluster.backends[1].pid
    before = memory(process)
    one_header = (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", *[b"a" * 64 * KIB] * 400)
    many_headers = (b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X-A: a\r\n" * 8 * KIB] * 400)
    one_address = (b"GET /", *[b"a" * 64 * KIB] * 400)
    for pieces in (one_header, many_headers, one_address) * 3:
        answer = await told(cluster.ports[1], *pieces)
        assert not answer or answer.startswith(b"HTTP/1.1 431 "), "told so, unless the cut was faster"
    assert memory(process) - before < 20_000, "kB"
    assert (await client.http.get(f"{cluster.url_of(1)}/health")).status_code == 200


def memory(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return int(re.findall(r"VmRSS:\s+(\d+)", status.read())[0])


async def half_after(port: int, first: bytes, half: bytes) -> bytes:
    """What comes for the half of a request, on a connection that has been used for a whole one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(ConnectionResetError):  # how Nginx cuts what is late
        async with asyncio.timeout(40):
            writer.write(first)
            await reader.readuntil(b"}")
            writer.write(half)
            answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def test_a_header_that_does_not_arrive_gives_its_place_back(cluster: Cluster) -> None:
    """After ten seconds, as Nginx has it; also on a connection that has been used before."""
    half = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
    own = cluster.ports[1]
    fresh, used, empty, nothing, *_ = await asyncio.gather(
        told(own, half), half_after(own, half + b"\r\n", half), half_after(own, half + b"\r\n", b"\r\n"),
        told(own),
        told(cluster.port, half), half_after(cluster.port, half + b"\r\n", half),
    )  # fmt: skip
    assert_problem(fresh, 408)
    assert_problem(used, 408)
    assert_problem(empty, 408)
    assert nothing == b"", "nothing was asked"


Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def sending(*pieces: bytes, then: Callable[[], Awaitable[Any]] | None = None) -> Receive:
    """A client that sends these, and then waits, leaves, or is done."""
    left = list(pieces)

    async def receive() -> MutableMapping[str, Any]:
        if not left and then:
            await then()
            return {"type": "http.disconnect"}
        piece = left.pop(0) if left else b""
        return {"type": "http.request", "body": piece, "more_body": bool(left or then)}

    return receive


async def test_a_body_has_a_deadline_as_a_whole() -> None:
    arrivals = Arrivals(seconds=0.2)
    with pytest.raises(Refused) as refused:
        await arrivals.body(sending(b"a", then=asyncio.Event().wait), {}, 256 * KIB)
    assert refused.value.status == 408


async def test_all_bodies_on_their_way_have_a_budget_and_give_it_back() -> None:
    arrivals = Arrivals(budget=10 * KIB)
    gate = asyncio.Event()
    first = asyncio.create_task(arrivals.body(sending(b"a" * 9 * KIB, then=gate.wait), {}, 64 * KIB))
    await asyncio.sleep(0)
    with pytest.raises(Refused) as refused:
        await arrivals.body(sending(b"a" * 2 * KIB), {}, 64 * KIB)
    assert refused.value.status == 503
    gate.set()
    with pytest.raises(Gone):
        await first
    assert len(await arrivals.body(sending(b"a" * 9 * KIB), {}, 64 * KIB)) == 9 * KIB


@pytest.fixture(params=["through nginx", "a backend alone"])
async def guest(cluster: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with cluster.client(None if request.param == "through nginx" else 1) as client:
        yield client


async def test_how_large_a_body_may_be_goes_by_its_address(guest: Client) -> None:
    for path, most in (
        ("/api/v1/chat/a", 256),
        ("/chat", 256),
        ("/api/v1/stop/a", 256),
        ("/v1/chat/completions", 4096),
    ):
        padded = b'{"x": "' + b"x" * (most * KIB - 9) + b'"}'
        assert len(padded) == most * KIB
        taken = await guest.http.post(path, content=padded, headers={"Content-Type": "application/json"})
        assert taken.status_code != 413, path
        refused = await guest.http.post(
            path, content=padded + b" ", headers={"Content-Type": "application/json"}
        )
        assert refused.status_code == 413, path
        assert refused.json()["code"] == "too_large"


async def test_a_refused_body_is_drained_and_the_connection_stays_in_step(cluster: Cluster) -> None:
    big = b"x" * 400 * KIB
    head = b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(big)
    last = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    pieces = [head, *(big[n : n + 32 * KIB] for n in range(0, len(big), 32 * KIB)), last]
    answer = await told(cluster.ports[1], *pieces)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'{"status":"alive"}')
