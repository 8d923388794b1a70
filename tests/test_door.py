"""The door of an open server at home: which names it answers to, whose pages may send, and what HEAD, 405, a
slash at the end and every refusal look like. Nginx and a backend without it say the same.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ollama_env
from tests.test_errors import raw_answer
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT
from tests.world.redis_server import PrivateRedis

FRIEND = "https://friend.example"
AT_HOME = [
    "localhost", "LOCALHOST:8080", "chat", "raspberrypi", "my_pi:80", "127.0.0.1", "192.168.1.20:8080",
    "10.0.0.1", "[::1]",
    "[fe80::1]:8080", "pi.local", "Chat.Lan", "chat.home.arpa", "chat.internal:1", "a.localhost", "",
    socket.gethostname(),
]  # fmt: skip
REBOUND = [
    "evil.example", "evil.example:8080", "rebind.test", "local.evil.example", "evil.localx", "pi.local.",
    "localhost.",
    "127.0.0.1.evil.example", "a/b.local", "evil.example/.local", "[::1].evil.example", "ü.local",
    "1.2.3.4.5",
]  # fmt: skip


@pytest.fixture(scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory, the_ollama: FakeOllama) -> AsyncIterator[Cluster]:
    """Two backends without keys and hosts that let one foreign origin in."""
    where: Path = tmp_path_factory.mktemp("home")
    env = {**ollama_env(the_ollama), "CORS_ORIGINS": FRIEND}
    async with PrivateRedis(where) as redis, Cluster(where, redis.url, env=env, backends=2) as cluster:
        yield cluster


@pytest.fixture(params=["through nginx", "a backend alone"])
async def guest(home: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with home.client(None if request.param == "through nginx" else 1) as client:
        yield client


@pytest.mark.parametrize("host", AT_HOME)
async def test_a_name_of_the_home_network_is_answered(home: Cluster, host: str) -> None:
    async with home.client(1) as client:
        answer = await client.http.get("/api/v1/chats", headers={b"Host": host.encode()})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("host", REBOUND)
async def test_a_name_that_can_be_rebound_is_refused(home: Cluster, host: str) -> None:
    async with home.client(1) as client:
        for method, path in (
            ("GET", "/"),
            ("GET", "/api/v1/chats"),
            ("POST", "/api/v1/stop/x"),
            ("HEAD", "/health"),
        ):
            answer = await client.http.request(method, path, headers={b"Host": host.encode()})
            assert answer.status_code == 421, path
            if method != "HEAD":
                assert answer.json()["code"] == "wrong_host"
                assert "ALLOWED_HOSTS" in answer.json()["detail"]
        live = await client.http.get("/health/live", headers={b"Host": host.encode()})
        assert live.status_code == 200, "container health checks ask by address"


def foreign(own: str) -> list[dict[str, str]]:
    port = int(own.rpartition(":")[2])
    return [
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": f"http://127.0.0.1:{port + 1}"},
        {"Origin": "http://127.0.0.1"}, {"Origin": f"http://localhost:{port}"},
        {"Origin": own + ".evil.example"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "odd"},
        {"Origin": own, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "none"},
        {"Origin": FRIEND + ".evil.example"}, {"Origin": FRIEND + ":444"},
        {"Origin": "http://friend.example"},
    ]  # fmt: skip


async def test_a_foreign_page_changes_nothing_and_stops_nobody(
    guest: Client, home: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("hold", HELD)
    own = str(guest.http.base_url).rstrip("/")
    async with guest.chat(chat_id, "hold on") as stream:
        await stream.until_text(HELD_TEXT)
        for headers in foreign(own):
            for method, path, body in (
                ("POST", f"/api/v1/stop/{chat_id}", None),
                ("POST", f"/api/v1/chat/{chat_id}", {"message": "evil"}),
                ("DELETE", f"/api/v1/chat/{chat_id}", None),
                ("PATCH", f"/api/v1/chat/{chat_id}", {"title": "evil"}),
                ("POST", "/chat", {"message": "evil"}),
                ("POST", "/api/v1/stop/bulk", {"chat_ids": [chat_id]}),
            ):  # fmt: skip
                answer = await guest.http.request(method, path, json=body, headers=headers)
                assert answer.status_code == 403, (headers, path)
                assert answer.json()["code"] == "cross_site"
                assert "access-control-allow-origin" not in answer.headers
        assert (await guest.chat_info(chat_id))["status"] == "running"
        assert not ollama.of("evil")
        assert (await guest.stop(chat_id, wait=5000))["result"] == "stopped"


async def test_our_own_page_a_named_one_and_no_page_at_all_may(guest: Client, chat_id: str) -> None:
    own = str(guest.http.base_url).rstrip("/")
    for headers in (
        {}, {"Origin": own}, {"Origin": FRIEND}, {"Origin": FRIEND.upper()},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"}, {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://chat.lan", "Host": "chat.lan"},
        {"Origin": "https://chat.lan", "Host": "chat.lan:443"},
        {"Origin": "https://behind.a.proxy", "Sec-Fetch-Site": "same-origin"},
    ):  # fmt: skip
        answer = await guest.http.post(f"/api/v1/stop/{chat_id}", headers=headers)
        assert answer.status_code == 202, headers


async def refusals(client: Client) -> dict[int, httpx.Response]:
    """One answer for each status that can be had without harm, as a page of FRIEND asks."""
    origin, json = {"Origin": FRIEND}, {"Origin": FRIEND, "Content-Type": "application/json"}
    asked = [
        client.http.get("/api/v1/nothing", headers=origin),
        client.http.put("/api/v1/chats", headers=origin),
        client.http.post("/api/v1/chat/a", headers=json, content=b'{"message": NaN}'),
        client.http.post("/api/v1/chat/a", headers=json, content=b'{"message": "\\ud800"}'),
        client.http.post("/api/v1/chat/a", headers=json, content=b'{"message": 1}'),
        client.http.post("/api/v1/chat/a", headers=json, content=b"x" * 300_000),
        client.http.get("/api/v1/chats", headers={**origin, "Host": "evil.example"}),
        client.http.post("/api/v1/chat/a", headers=json, content=b'{"message": "x", "agent": "none"}'),
        client.http.delete("/api/v1/chat/never-seen", headers=origin),
    ]
    return {answer.status_code: answer for answer in [await one for one in asked]}


async def test_every_refusal_can_be_read_by_an_allowed_origin(guest: Client) -> None:
    found = await refusals(guest)
    assert found.keys() == {400, 404, 405, 413, 421, 422}
    for status, answer in found.items():
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND, status
        assert "Origin" in answer.headers["Vary"]
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers.get_list("Access-Control-Allow-Origin") == [FRIEND]


async def test_a_preflight_mirrors_what_a_named_origin_asks(guest: Client) -> None:
    asked = {
        "Origin": FRIEND, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-stainless-os,last-event-id",
    }  # fmt: skip
    answer = await guest.http.options("/api/v1/chat/a", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "x-stainless-os" in answer.headers["Access-Control-Allow-Headers"]
    refused = await guest.http.options("/api/v1/chat/a", headers={**asked, "Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert refused.json()["code"] == "cross_site"
    assert "Access-Control-Allow-Origin" not in refused.headers


GETS = ["/", "/docs", "/openapi.json", "/health", "/health/live", "/api/v1/health", "/api/v1/chats",
    "/api/v1/runs",
        "/api/v1/agents", "/agents", "/api/v1/status", "/api/v1/chat/head", "/static/main.js"]  # fmt: skip


@pytest.mark.parametrize("path", GETS)
async def test_head_works_where_get_does(guest: Client, path: str) -> None:
    head, whole = await guest.http.head(path), await guest.http.get(path)
    assert head.status_code == whole.status_code == 200
    assert head.content == b""
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    assert (await guest.http.get("/health/live")).json() == {"status": "alive"}, (
        "the connection is still in step"
    )


async def test_head_of_a_stream_answers_at_once_and_reads_nothing(
    guest: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("hold", HELD)
    async with guest.chat(chat_id, "hold on") as stream:
        await stream.until_text(HELD_TEXT)
        head = await guest.http.head(f"/api/v1/chat/{chat_id}/events")
        assert head.status_code == 200
        assert head.headers["Content-Type"].startswith("text/event-stream")
        assert head.headers["X-Run-Id"] == stream.run_id
        await guest.stop(chat_id, wait=5000)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/chats", {"GET", "HEAD"}),
        ("PUT", "/api/v1/chat/x", {"GET", "HEAD", "POST", "PATCH", "DELETE"}),
        ("GET", "/api/v1/stop/x", {"POST"}),
        ("HEAD", "/api/v1/stop/x", {"POST"}),
        ("DELETE", "/chat", {"POST"}),
        ("POST", "/static/main.js", {"GET", "HEAD"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("POST", "/", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    guest: Client, method: str, path: str, allowed: set[str]
) -> None:
    answer = await guest.http.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) >= allowed
    assert method not in answer.headers["Allow"].split(", ")


async def test_a_slash_at_the_end_is_the_same_address(guest: Client, chat_id: str) -> None:
    for path in (path for path in GETS if path not in {"/", "/static/main.js"}):
        assert (await guest.http.get(path + "/")).status_code == 200, path
    asked = await guest.http.post("/chat/", json={"message": "hello", "conversation_id": chat_id})
    assert asked.status_code == 200
    assert (await guest.http.post(f"/api/v1/chat/{chat_id}/", json={"message": "hello"})).status_code == 200
    assert (await guest.chat_info(chat_id))["message_count"] == 4
    assert (await guest.http.post(f"/api/v1/stop/{chat_id}/")).status_code == 202


@pytest.mark.parametrize(
    "path", ["/static", "/api", "/api/v1", "/api/v1/chat", "/api/v1/stop", "/api/v1/ag-ui", "/v1"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_part_of_an_address_is_no_address_and_leads_nowhere_else(
    guest: Client, path: str, method: str
) -> None:
    for form in (path, f"{path}/"):
        answer = await guest.http.request(method, form)
        assert (answer.status_code, answer.json()["code"]) in {
            (404, "not_found"),
            (405, "method_not_allowed"),
        }, form


async def test_what_is_private_is_stored_nowhere(guest: Client, chat_id: str) -> None:
    await guest.ask(chat_id, "hello")
    for path in ("/api/v1/chats", f"/api/v1/chat/{chat_id}", "/api/v1/runs", "/api/v1/status",
        "/api/v1/agents",
                 f"/api/v1/chat/{chat_id}/export?format=json", "/api/v1/nothing"):  # fmt: skip
        assert (await guest.http.get(path)).headers.get_list("Cache-Control") == ["no-store"], path
    assert (await guest.http.get("/static/main.js")).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_a_body_without_its_type_is_told_which_header_it_lacks(guest: Client, kind: str) -> None:
    answer = await guest.http.post(
        "/api/v1/chat/kind", content=b'{"message": "hi"}', headers={"Content-Type": kind}
    )
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]


async def test_wrong_keys_are_counted_in_the_log(tmp_path: Path, redis_url: str) -> None:
    env = {"API_KEYS": "anna:canary-key-of-anna"}
    async with Cluster(tmp_path, redis_url, env=env, backends=1) as cluster, cluster.client(1) as client:
        for n in range(20):
            await client.http.get("/api/v1/chats", headers={"Authorization": f"Bearer canary-guess-{n}"})
        output = cluster.backends[1].output
        assert output.count("wrong API key") == 1
        assert "canary" not in output


async def told(port: int, request: bytes) -> bytes:
    """All that comes back for these bytes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_lost_body_is_refused_and_never_read_as_no_run_id(
    home: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("hold", HELD)
    body = b'{"run_id": "run-older-1"}'
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    async with home.client(1) as client, client.chat(chat_id, "hold on") as stream:
        await stream.until_text(HELD_TEXT)
        for length, sent in (
            (b"Content-Length: %d" % len(body), body),
            (b"Transfer-Encoding: chunked", chunked),
        ):
            head = (
                b"POST /api/v1/stop/%b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                % chat_id.encode()
            )
            answer = await told(home.ports[1], head + upgrade + length + b"\r\n\r\n" + sent)
            assert answer.startswith(b"HTTP/1.1 422"), answer
            assert b"Upgrade" in answer
            through = await raw_answer(home.port, head + upgrade + length + b"\r\n\r\n" + sent)
            assert through.startswith(b"HTTP/1.1 202"), "Nginx keeps the body"
        assert (await client.chat_info(chat_id))["status"] == "running"
        await client.stop(chat_id, wait=5000)


async def test_half_a_body_is_no_request(home: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.on("hold", HELD)
    async with home.client(1) as client, client.chat(chat_id, "hold on") as stream:
        await stream.until_text(HELD_TEXT)
        for port in (home.port, home.ports[1]):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /api/v1/stop/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 25\r\n\r\n" % chat_id.encode()
            )
            await writer.drain()
            await client.get("/health/live")
            writer.close()
            await writer.wait_closed()
        for _ in range(20):
            assert (await client.chat_info(chat_id))["status"] == "running"
        await client.stop(chat_id, wait=5000)
