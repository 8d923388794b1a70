"""Who may do what: API keys keep people apart, hosts and origins are checked, and no secret gets out."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ollama_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT
from tests.world.invariants import assert_invariants
from tests.world.redis_server import PrivateRedis

ANNA, BERT = "canary-key-of-anna-0001", "canary-key-of-bert-0002"


@pytest.fixture(scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory, the_ollama: FakeOllama) -> AsyncIterator[Cluster]:
    """Two backends with keys, hosts and one foreign origin."""
    where: Path = tmp_path_factory.mktemp("guarded")
    env = {
        **ollama_env(the_ollama),
        "API_KEYS": f"anna:{ANNA},bert:{BERT}",
        "ALLOWED_HOSTS": "127.0.0.1,chat.example",
        "CORS_ORIGINS": "https://friend.example",
        "LOG_LEVEL": "DEBUG",
    }
    async with PrivateRedis(where) as redis, Cluster(where, redis.url, env=env, backends=2) as cluster:
        yield cluster


@pytest.fixture
async def anna(guarded: Cluster, ollama: FakeOllama) -> AsyncIterator[Client]:
    async with guarded.client(1, key=ANNA) as client:
        yield client


@pytest.fixture
async def bert(guarded: Cluster) -> AsyncIterator[Client]:
    async with guarded.client(2, key=BERT) as client:
        yield client


@pytest.fixture
async def nobody(guarded: Cluster) -> AsyncIterator[Client]:
    async with guarded.client() as client:
        yield client


async def every_route(client: Client, chat_id: str) -> dict[str, httpx.Response]:
    """One request to each route that needs a key."""
    body = {"message": "hello"}
    requests = [
        ("GET", f"/api/v1/chat/{chat_id}", None), ("POST", f"/api/v1/chat/{chat_id}", body),
        ("PATCH", f"/api/v1/chat/{chat_id}", {"title": "x"}), ("GET", f"/api/v1/chat/{chat_id}/events", None),
        ("GET", f"/api/v1/chat/{chat_id}/export?format=json", None), ("DELETE",
        f"/api/v1/chat/{chat_id}", None),
        ("GET", "/api/v1/chats", None), ("POST", f"/api/v1/stop/{chat_id}", {}),
        ("POST", "/api/v1/stop/bulk", {"chat_ids": [chat_id]}), ("GET", "/api/v1/runs", None),
        ("GET", "/api/v1/agents", None), ("GET", "/api/v1/status", None), ("POST", "/chat", body),
        ("GET", "/agents", None),
    ]  # fmt: skip
    return {f"{m} {p}": await client.http.request(m, p, json=b) for m, p, b in requests}


async def test_without_a_key_every_route_is_closed(nobody: Client, chat_id: str) -> None:
    for route, answer in (await every_route(nobody, chat_id)).items():
        assert answer.status_code == 401, route
        assert answer.json()["code"] == "unauthorized"
        assert "Bearer" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "header",
    [
        b"Bearer wrong", b"Bearer", b"bearer", b"Basic YTpi", ANNA.encode(), b"Token " + ANNA.encode(),
        b"Bearer " + ANNA.encode() + b"x", b"Bearer " + ANNA[:-1].encode(), b"Bearer  \xff\xfe",
        b"Bearer anna:" + ANNA.encode(), b"Bearer " + ANNA.upper().encode(), b"", b"Bearer " + b"x" * 4000,
        b"Bearer \xc3\xa9",
    ],
)  # fmt: skip
async def test_a_wrong_key_is_refused_however_it_is_sent(nobody: Client, header: bytes) -> None:
    for path in ("/api/v1/chats", f"/api/v1/chats?api_key={ANNA}"):
        answer = await nobody.http.get(path, headers={b"Authorization": header, b"X-API-Key": ANNA.encode()})
        assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health", "/api/v1/health", "/health/live"])
async def test_page_description_and_health_stay_open(nobody: Client, path: str) -> None:
    assert (await nobody.http.get(path)).status_code == 200


async def test_each_key_sees_only_its_own(
    guarded: Cluster, anna: Client, bert: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("hold", HELD)
    async with anna.chat(chat_id, "hold this secret of anna") as stream:
        await stream.until_text(HELD_TEXT)
        assert (await bert.chat_info(chat_id))["status"] == "new"
        assert (await bert.replay(chat_id)).status == 204
        assert (await bert.get("/api/v1/runs"))["runs"] == []
        assert (await bert.get("/api/v1/status"))["runs"] == []
        assert chat_id not in str(await bert.get("/api/v1/chats?limit=200"))
        assert (await bert.stop(chat_id, wait=300))["result"] == "pending"
        assert (await bert.stop(chat_id, run_id=stream.run_id))["result"] == "pending"
        assert (await bert.http.delete(f"/api/v1/chat/{chat_id}")).status_code == 404
        assert (await bert.http.get(f"/api/v1/chat/{chat_id}/export?format=json")).status_code == 404
        assert (await bert.http.patch(f"/api/v1/chat/{chat_id}", json={"title": "x"})).status_code == 404
        assert (await anna.chat_info(chat_id))["status"] == "running"
        async with guarded.client(2, key=ANNA) as anna_elsewhere:
            assert (await anna_elsewhere.stop(chat_id, wait=5000))["result"] == "stopped"
        assert (await stream.rest()).outcome == "stopped"
    await assert_invariants(guarded, models=[ollama], key=ANNA)


async def test_the_same_chat_id_is_another_chat_for_another_key(
    anna: Client, bert: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await anna.ask(chat_id, "question of anna", run_id="the-same-run-id")
    theirs = await bert.ask(chat_id, "question of bert", run_id="the-same-run-id")
    assert theirs.outcome == "done"
    assert [m["content"] for m in await bert.messages(chat_id) if m["role"] == "user"] == ["question of bert"]
    sent = [m["content"] for m in ollama.of("question of bert")[-1].body["messages"] if m["role"] == "user"]
    assert sent == ["question of bert"]
    assert "bert" not in str(await anna.messages(chat_id))


async def test_a_foreign_chat_looks_exactly_like_an_unknown_one(
    anna: Client, bert: Client, chat_id: str
) -> None:
    await anna.ask(chat_id, "hello")
    unknown = f"{chat_id}-unknown"
    for path in ("/api/v1/chat/{}", "/api/v1/chat/{}/events", "/api/v1/chat/{}/export?format=json"):
        foreign, missing = [await bert.http.get(path.format(name)) for name in (chat_id, unknown)]
        assert foreign.status_code == missing.status_code
        if foreign.status_code == 200:
            assert foreign.text == missing.text.replace(unknown, chat_id)


async def test_one_key_cannot_stop_many_of_another(
    anna: Client, bert: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    async with anna.chat(chat_id, "hello") as stream:
        await stream.until_text("word2 ")
        answer = await bert.http.post("/api/v1/stop/bulk", json={"chat_ids": [chat_id]})
        assert [result["result"] for result in answer.json()["results"]] == ["pending"]
        await stream.until_text("word30 ")
        await anna.stop(chat_id, wait=5000)
        assert (await stream.rest()).outcome == "stopped"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "chat.example.evil", "[::1]", "a/b", "a?x"]
)
async def test_a_foreign_host_is_refused_on_every_route(guarded: Cluster, anna: Client, host: str) -> None:
    for path in ("/", "/api/v1/chats", "/docs", "/chat"):
        answer = await anna.http.get(f"{guarded.url_of(1)}{path}", headers={"Host": host})
        assert answer.status_code in {421, 400}, path
        if answer.status_code == 421:
            assert answer.json()["code"] == "wrong_host"
            assert host not in answer.text


@pytest.mark.parametrize("host", ["chat.example", "CHAT.example", "chat.example:8080", "127.0.0.1:80"])
async def test_an_allowed_host_is_served_on_any_port(anna: Client, host: str) -> None:
    assert (await anna.http.get("/api/v1/chats", headers={"Host": host})).status_code == 200


async def test_only_the_named_origin_may_read_answers(anna: Client, cluster: Cluster) -> None:
    friend = await anna.http.get("/api/v1/chats", headers={"Origin": "https://friend.example"})
    stranger = await anna.http.get("/api/v1/chats", headers={"Origin": "https://evil.example"})
    assert friend.headers["Access-Control-Allow-Origin"] == "https://friend.example"
    assert "Access-Control-Allow-Origin" not in stranger.headers
    async with cluster.client() as open_client:
        answer = await open_client.http.get("/api/v1/chats", headers={"Origin": "https://friend.example"})
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_form_on_a_foreign_page_starts_nothing(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    answer = await client.http.post(
        f"/api/v1/chat/{chat_id}",
        content=b'{"message": "from a foreign page"}',
        headers={
            "Origin": "https://evil.example",
            "Content-Type": "text/plain",
            "Sec-Fetch-Site": "cross-site",
        },
    )
    assert 400 <= answer.status_code < 500
    assert not ollama.of("from a foreign page")


async def test_nobody_finds_keys_or_words_in_the_logs(guarded: Cluster, anna: Client, chat_id: str) -> None:
    await anna.ask(chat_id, "canary-words-of-anna")
    for program in guarded.backends.values():
        for secret in (ANNA, BERT, "canary-words-of-anna", "word0 word1"):
            assert secret not in program.output
