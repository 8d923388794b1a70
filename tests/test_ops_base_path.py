"""A path in front of everything (BASE_PATH), at Nginx and at a backend alone. Proxies: test_ops_front."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.doctor.front import leads_here
from app.settings.addresses import base_path
from tests.test_ops_nginx import Front, assert_problem, client_of, program_of, raw, sent
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT
from tests.world.processes import free_port

OURS = ["", "/", "/docs", "/docs/", "/openapi.json", "/health", "/health/live", "/api/v1/health",
        "/agents", "/api/v1/agents", "/api/v1/chats?limit=5", "/api/v1/status", "/static/main.js",
        "/v1/models"]  # fmt: skip


@pytest.fixture(params=["Nginx", "a backend alone"])
async def client(below: Cluster, request: pytest.FixtureRequest) -> Client:
    return below.client(None if request.param == "Nginx" else 1)


@pytest.mark.parametrize("base", ["/chat", "", "/%63hat"])
async def test_every_address_is_below_the_path_and_at_the_root(client: Client, base: str) -> None:
    async with client:
        for path in OURS:
            answer = await client.http.get(base + path)
            assert answer.status_code == 200, (base + path, answer.text)
            assert not answer.history


async def test_files_of_the_pages_are_asked_for_where_the_pages_are(client: Client) -> None:
    async with client:
        for page in ("/chat", "/chat/", "/chat/docs", "/"):
            text = (await client.http.get(page)).text
            assert '="/chat/static/' in text
            assert '="/static/' not in text
        assert (await client.get("/chat/openapi.json"))["servers"] == [{"url": "/chat"}]


async def test_the_older_api_keeps_its_address(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    async with client:
        for path in ("/chat", "/chat/", "/chat/chat", "/chat/chat/"):
            answer = await client.http.post(path, json={"message": "hello", "conversation_id": chat_id})
            assert (answer.status_code, answer.json()["outcome"]) == (200, "done"), path


async def test_a_reply_below_it_is_stopped_at_the_root_and_the_other_way_round(
    below: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    ollama.on("hold", HELD)
    for here, there in (("/chat", ""), ("", "/chat")):
        chat_id = new_chat()
        async with Client(below.url + here) as asking, Client(below.url + there) as stopping:
            async with asking.chat(chat_id, "hold this") as stream:
                await stream.until_text(HELD_TEXT)
                assert (await stopping.stop(chat_id, wait=5000))["result"] == "stopped"
                assert (await stream.rest()).outcome == "stopped"
            assert (await stopping.replay(chat_id)).text == stream.text


async def test_what_is_not_there_is_not_there_below_it_either(client: Client) -> None:
    async with client:
        for path in (
            "/chat/nothing",
            "/chat/problem",
            "/chat/openai-problem",
            "/chatter",
            "/chat/static/no.js",
        ):
            answer = await client.http.get(path)
            assert answer.status_code == 404, path
            assert_problem(answer, "not_found")
        answer = await client.http.post("/chat/v1/chat/completions", json={})
        assert answer.json()["error"]["message"], "OpenAI's clients read this member"


async def test_figures_come_through_no_form_of_the_address(below: Cluster) -> None:
    async with below.client() as client:
        for path in ("/metrics", "/chat/metrics", "/chat/metrics/", "/chat/chat/metrics", "/chat//metrics",
                     "/chat/%6detrics", "/chat/x/../metrics", "/%63hat/chat/%63hat/metrics"):  # fmt: skip
            assert (await client.http.get(path)).status_code == 404, path


@pytest.fixture(params=["machine", "wheel"])
def front(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Front]:
    front = Front(tmp_path, program_of(request.param), BASE_PATH="/chat")
    yield front
    front.close()


def test_what_nginx_decides_by_address_it_decides_below_the_path_too(front: Front) -> None:
    with client_of(front) as client:
        big = b"x" * 2_000_000
        assert client.post("/chat/api/v1/chat/c1/files", content=big).status_code == 200
        assert client.post("/chat/v1/chat/completions", content=big).status_code == 200
        assert client.post("/chat/api/v1/chat/c1", content=big).status_code == 413
        starts = (client.post("/chat/api/v1/chat/c1", json={}).status_code for _ in range(10_000))
        assert next(status for status in starts if status != 200) == 429
        assert client.post("/chat/api/v1/stop/c1").status_code == 200, "a stop has a limit of its own"
    assert sent(front, "/api/v1/stop/c1")["Host"] == f"127.0.0.1:{front.port}"


def test_what_came_escaped_goes_on_escaped(front: Front) -> None:
    with client_of(front) as client:
        client.get("/chat/api/v1/chats?q=a%20b%26c&limit=1")
        client.get("/chat/api/v1/chat/gr%C3%BC%C3%9Fe%20%25%3F")
    assert sent(front, "GET /api/v1/chats?q=a%20b%26c&limit=1")
    assert sent(front, "GET /api/v1/chat/gr%C3%BC%C3%9Fe%20%25%3F")


def test_what_nginx_answers_itself_is_not_to_be_had_below_the_path(front: Front) -> None:
    lines = (b"GET /chat/problem", b"GET /chat/chat/problem", b"POST /chat/openai-problem")
    for line in lines:
        raw(front, line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert front.seen("problem") == len(lines), "a backend answers these"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", ""),
        ("/", ""),
        ("chat", "/chat"),
        ("/chat/", "/chat"),
        (" /a/b.c~d_e-1/ ", "/a/b.c~d_e-1"),
        ("/apis", "/apis"),
    ],
)
def test_a_path_is_read_as_it_is_meant(written: str, meant: str) -> None:
    assert base_path(written) == meant


@pytest.mark.parametrize(
    "written",
    ["https://home.example/chat", "/ch at", "/chat?x", "/chät", "/..", "/chat/../x", "/a//b", "/%63hat",
     "/c\nhat", "/{chat}", "/api", "/api/chat", "v1", "/static", "/docs/", "/health", "/metrics", "/agents",
     "/problem"],
)  # fmt: skip
def test_a_path_that_cannot_be_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="such as /chat"):
        base_path(written)


@pytest.mark.parametrize("written", ["/ch at", '/a"b', "/$x", "/..", "/a;b", "/a{b", "/(.*)", "/a\\b"])
def test_nginx_starts_without_a_path_that_cannot_be(written: str, tmp_path: Path) -> None:
    front = Front(tmp_path, program_of("machine"), BASE_PATH=written)
    try:
        assert httpx.get(f"http://127.0.0.1:{front.port}/health").status_code == 200
    finally:
        front.close()


# what the doctor says of it


async def said_of(url: str, base: str) -> str:
    return "\n".join(str(finding) for finding in await asyncio.to_thread(lambda: list(leads_here(url, base))))


async def test_the_doctor_tells_whether_the_address_leads_here(below: Cluster, ollama: FakeOllama) -> None:
    for url in (f"{below.url}/chat", f"{below.url}/chat/"):
        assert (await said_of(url, "/chat")).startswith("ok    address: ")
    wrong = await said_of(f"{below.url}/ai", "/chat")
    assert wrong.startswith("FAIL")
    assert wrong.endswith("repair: BASE_PATH=/ai in .env, then make restart")
    elsewhere = await said_of(f"{below.url}/ai", "/ai")
    assert elsewhere.startswith("FAIL  address")
    assert "leads elsewhere (status 404)" in elsewhere
    assert "leads elsewhere" in await said_of(ollama.url, "")
    assert (await said_of(f"http://127.0.0.1:{free_port()}/chat", "/chat")).startswith("warn")
    assert "URL is no address" in await said_of("home.example/chat", "/chat")
    assert "make doctor URL=" in await said_of("", "/chat")
    assert not await said_of("", "")


async def test_the_doctor_tells_a_host_that_is_refused(where: Path, redis_url: str) -> None:
    env = {"ALLOWED_HOSTS": "127.0.0.1", "REDIS_PREFIX": "refused:"}
    async with Cluster(where, redis_url, env=env, backends=1) as alone:
        assert (await said_of(alone.url, "")).startswith("ok")
        other = alone.url.replace("127.0.0.1", "localhost")
        assert "localhost is not in ALLOWED_HOSTS" in await said_of(other, "")
