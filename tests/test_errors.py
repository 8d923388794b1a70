"""Nasty input through Nginx: refused with a reason, never a 5xx, never echoed, and nobody else notices."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.world.client import Client, own_address
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama

CANARY = "canary4711"
JSON = {"Content-Type": "application/json"}

BODIES: dict[str, tuple[int, bytes]] = {
    "empty": (422, b""),
    "not json": (422, b"message=hi " + CANARY.encode()),
    "half an object": (422, b'{"message": "canary4711'),
    "a list": (422, b'["canary4711"]'),
    "null": (422, b"null"),
    "a number": (422, b"1"),
    "nan": (422, b'{"message": NaN, "canary4711": 1}'),
    "infinity": (422, b'{"message": -Infinity}'),
    "nan as agent": (422, b'{"message": "canary4711", "agent": NaN}'),
    "invalid utf-8": (422, b'{"message": "canary4711 \xff\xfe"}'),
    "overlong utf-8": (422, b'{"message": "\xc0\xaf"}'),
    "lone surrogate": (422, b'{"message": "canary4711 \\ud800"}'),
    "lone low surrogate": (422, b'{"message": "\\udfff canary4711"}'),
    "surrogate in agent": (422, b'{"message": "hi", "agent": "\\ud800"}'),
    "surrogate in a name": (422, b'{"message": "hi", "agent": 1, "\\ud800": 1}'),
    "utf-16": (422, '{"message": "hi"}'.encode("utf-16")),
    "deep nesting": (422, b'{"message": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    "deep and open": (422, b"[" * 200_000),
    "huge number": (422, b'{"message": ' + b"9" * 10_000 + b"}"),
    "huge exponent": (422, b'{"message": 1e999999}'),
    "message missing": (422, b'{"agent": "general"}'),
    "message empty": (422, b'{"message": ""}'),
    "message white": (422, '{"message": " \\n\\t\u3000"}'.encode()),
    "message a number": (422, b'{"message": 4711}'),
    "message a list": (422, b'{"message": ["canary4711"]}'),
    "message too long": (422, b'{"message": "canary4711' + b"x" * 4000 + b'"}'),
    "agent a number": (422, b'{"message": "hi", "agent": 4711}'),
    "run id too short": (422, b'{"message": "hi", "run_id": "short"}'),
    "run id too long": (422, b'{"message": "hi", "run_id": "' + b"x" * 65 + b'"}'),
    "run id odd": (422, b'{"message": "hi", "run_id": "canary4711:../x"}'),
    "run id with line feed": (422, b'{"message": "hi", "run_id": "canary4711\\n"}'),
    "run id non-ascii": (422, '{"message": "hi", "run_id": "canary4711é"}'.encode()),
    "on_busy odd": (422, b'{"message": "hi", "on_busy": "canary4711"}'),
    "replaces odd": (422, b'{"message": "hi", "replaces": {"canary4711": 1}}'),
    "agent unknown": (400, b'{"message": "hi", "agent": "canary4711"}'),
    "agent a path": (400, b'{"message": "hi", "agent": "../../canary4711"}'),
    "too large": (413, b'{"message": "' + b"canary4711" * 27_000 + b'"}'),
}

NEWER = ("run id", "on_busy", "replaces")  # fields the older API does not have
BAD_REQUESTS = [("/api/v1/chat/nasty-bodies", name) for name in BODIES]
BAD_REQUESTS += [("/chat", name) for name in BODIES if not name.startswith(NEWER)]

CHAT_IDS = [
    "-begins-with-dash", ".hidden", "_under", "x" * 129, "a b", "a%20b", "a%0a",
    "a%0d%0aX:1", "a%00", "%ff", "%c3%28",
    "a%2fb", "..%2fetc", "%2e%2e", "a{b}", "a*", "a%25", "%e2%80%aex", "ü", "a:b",
    "a%3Ab", "a%5Cb", "bulk", "a%0A",
]  # fmt: skip


@pytest.mark.parametrize(("path", "name"), BAD_REQUESTS)
async def test_a_bad_body_is_refused_and_not_echoed(
    client: Client, ollama: FakeOllama, name: str, path: str
) -> None:
    status, body = BODIES[name]
    answer = await client.http.post(path, content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert_problem(answer, {400: "unknown_agent", 413: "too_large", 422: "invalid"}[status])
    assert not ollama.exchanges


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_a_body_that_is_not_declared_json_is_refused(client: Client, content_type: str) -> None:
    answer = await client.http.post(
        "/api/v1/chat/content-type", content=b'{"message": "hi"}', headers={"Content-Type": content_type}
    )
    assert answer.status_code in {415, 422}


@pytest.mark.parametrize("chat_id", CHAT_IDS)
async def test_an_odd_chat_id_is_refused_on_every_route(client: Client, chat_id: str) -> None:
    for method, path in (
        ("GET", f"/api/v1/chat/{chat_id}"),
        ("POST", f"/api/v1/chat/{chat_id}"),
        ("DELETE", f"/api/v1/chat/{chat_id}"),
        ("GET", f"/api/v1/chat/{chat_id}/events"),
        ("POST", f"/api/v1/stop/{chat_id}"),
    ):
        body = b'{"message": "hi"}' if "/chat/" in path and method == "POST" else None
        answer = await client.http.request(method, path, content=body, headers=JSON if body else None)
        assert 400 <= answer.status_code < 500, f"{method} {path}: {answer.status_code}"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "not_found"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/static/../app/main.py", 404, "not_found"),
        ("PUT", "/api/v1/chats", 405, "method_not_allowed"),
        ("GET", "/api/v1/stop/some-chat", 405, "method_not_allowed"),
        ("GET", "/chat", 405, "method_not_allowed"),
        ("GET", "/api/v1/chats?limit=0", 422, "invalid"),
        ("GET", "/api/v1/chats?limit=201", 422, "invalid"),
        ("GET", "/api/v1/chats?limit=canary4711", 422, "invalid"),
        ("GET", "/api/v1/chats?offset=-1", 422, "invalid"),
        ("GET", "/api/v1/chats?offset=99999999999999999999999", 422, "invalid"),
        ("DELETE", "/api/v1/chat/never-seen-here", 404, "not_found"),
    ],
)
async def test_what_does_not_exist_is_told_as_a_problem(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.http.request(method, path)
    assert answer.status_code == status
    assert_problem(answer, code)


async def test_invalid_fields_are_named(client: Client) -> None:
    answer = await client.http.post("/api/v1/chat/fields", json={"message": 1, "on_busy": "x"})
    errors = answer.json()["errors"]
    assert {tuple(error["loc"]) for error in errors} >= {("body", "message"), ("body", "on_busy")}
    assert all(error["msg"] and error.keys() == {"loc", "msg"} for error in errors)


@pytest.mark.parametrize("given", ["abc-DEF_123", "x" * 64])
async def test_a_proper_request_id_is_kept(client: Client, given: str) -> None:
    for path in ("/health", "/api/v1/nothing", "/api/v1/chats?limit=0"):
        answer = await client.http.get(path, headers={"X-Request-ID": given})
        assert answer.headers["X-Request-ID"] == given
        if answer.status_code >= 400:
            assert answer.json()["request_id"] == given


@pytest.mark.parametrize("given", ["x" * 65, "a b", "a;b", "", "a/b", "é"])
async def test_an_odd_request_id_is_replaced(cluster: Cluster, client: Client, given: str) -> None:
    for url in (cluster.url, cluster.url_of(1)):
        answer = await client.http.get(f"{url}/health", headers={b"X-Request-ID": given.encode()})
        assert answer.headers["X-Request-ID"] != given
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", answer.headers["X-Request-ID"])


RAW = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "negative length": b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "odd method": b"canary4711 / HTTP/1.1\r\nHost: x\r\n\r\n",
    "not http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "huge header": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
    "huge uri": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "null in path": b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad chunk": b"POST /chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
}


@pytest.mark.parametrize("name", RAW)
async def test_broken_http_is_answered_with_4xx_or_cut(cluster: Cluster, client: Client, name: str) -> None:
    through_nginx = await raw_answer(cluster.port, RAW[name])
    assert re.match(rb"HTTP/1\.1 4\d\d ", through_nginx) or not through_nginx
    directly = await raw_answer(cluster.ports[1], RAW[name])
    assert re.match(rb"HTTP/1\.1 [24]\d\d ", directly) or not directly
    assert (await client.http.get("/health")).status_code == 200


async def raw_answer(port: int, request: bytes) -> bytes:
    """The beginning of the answer to these bytes; nothing when the connection was closed instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(20):
            answer = await reader.read(65_536)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def test_a_body_without_a_length_is_limited_too(cluster: Cluster) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 65_536

    for url in (cluster.url, cluster.url_of(1)):
        async with httpx.AsyncClient(timeout=20) as http:
            try:
                answer = await http.post(f"{url}/chat", content=endless(), headers=JSON)
            except httpx.TransportError:
                continue  # cut while we were still sending
            assert answer.status_code == 413


async def test_a_loop_gone_wild_is_limited_and_its_neighbour_is_not(cluster: Cluster) -> None:
    async with cluster.client(address=own_address()) as wild, cluster.client() as calm:
        sending = [wild.http.post("/api/v1/chat/-", json={"message": "x"}) for _ in range(900)]
        answers = await asyncio.gather(*sending)
        assert (await calm.http.get("/api/v1/chats")).status_code == 200
    assert {answer.status_code for answer in answers} == {422, 429}
    limited = next(answer for answer in answers if answer.status_code == 429)
    assert_problem(limited, "rate_limited")
    assert int(limited.headers["Retry-After"]) >= 1


async def test_backends_survived_all_that(cluster: Cluster, client: Client, chat_id: str) -> None:
    assert all(program.running for program in cluster.backends.values())
    assert (await client.ask(chat_id, "hello")).outcome == "done"
    for program in cluster.backends.values():
        assert "Traceback" not in program.output
        assert CANARY not in program.output


def assert_problem(answer: httpx.Response, code: str) -> None:
    """An RFC 9457 answer for people, without any of the input."""
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["code"] == code
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem["title"]
    assert problem["detail"]
    if answer.status_code == 422:
        assert problem["errors"]
        assert all(one["msg"] and one["loc"] for one in problem["errors"])
    assert CANARY not in answer.text
    assert "Traceback" not in answer.text
