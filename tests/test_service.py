"""What the service tells about itself: agents, health, the list of chats, its description and its pages."""

import re
from collections.abc import Callable

import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.waiting import eventually


async def test_all_three_backends_take_part(client: Client) -> None:
    names = {(await client.get("/health"))["backend"] for _ in range(12)}
    assert names == {"backend-1", "backend-2", "backend-3"}


async def test_the_list_is_newest_first_and_paged(client: Client, new_chat: Callable[[], str]) -> None:
    ids = [new_chat() for _ in range(3)]
    for chat_id in [*ids, ids[0]]:
        await client.ask(chat_id, f"question in {chat_id}")
    page = await client.get("/api/v1/chats?limit=3")
    assert [chat["chat_id"] for chat in page["chats"]] == [ids[0], ids[2], ids[1]]
    assert page["count"] >= 3
    assert page["chats"][0].keys() >= {"chat_id", "title", "agent", "status", "message_count", "updated_at"}
    assert page["chats"][0]["message_count"] == 4
    assert page["chats"][0]["title"]
    second = await client.get("/api/v1/chats?limit=1&offset=1")
    assert [chat["chat_id"] for chat in second["chats"]] == [ids[2]]


async def test_agents_are_listed_and_an_unknown_one_is_refused(client: Client, chat_id: str) -> None:
    names = (await client.get("/agents"))["agents"]
    agents = (await client.get("/api/v1/agents"))["agents"]
    assert "general" in names
    assert len(names) >= 3
    assert [agent["name"] for agent in agents] == names
    assert all(agent.keys() >= {"name", "description", "provider", "model", "tools"} for agent in agents)
    async with client.chat(chat_id, "hello", agent="nobody") as refused:
        assert (refused.status, refused.response.json()["code"]) == (400, "unknown_agent")
    assert (await client.ask(chat_id, "hello", agent=names[-1])).of("start")[0]["agent"] == names[-1]
    assert (await client.chat_info(chat_id))["agent"] == names[-1]


@pytest.mark.parametrize("path", ["/health", "/api/v1/health"])
async def test_health_tells_who_answers_and_how_it_is(client: Client, path: str) -> None:
    health = await client.get(path)
    assert health.keys() >= {"version", "active_runs", "backend"}
    assert {k: health[k] for k in ("status", "redis", "provider", "model", "stop_listener")} == {
        "status": "healthy", "redis": "connected", "provider": "ollama", "model": "qwen2.5:3b-instruct",
        "stop_listener": "listening",
    }  # fmt: skip
    assert (await client.http.get("/health/live")).status_code == 200


async def test_the_status_page_has_its_figures(cluster: Cluster, client: Client, chat_id: str) -> None:
    async def all_here() -> bool:
        status = await client.get("/api/v1/status")
        return {b["backend"] for b in status["backends"]} >= {"backend-1", "backend-2", "backend-3"}

    await eventually(all_here)
    status = await client.get("/api/v1/status")
    assert status["redis"]["status"] == "connected"
    assert status.keys() >= {"backends", "runs", "stops", "redis"}


async def test_every_route_is_described(client: Client) -> None:
    paths = (await client.get("/openapi.json"))["paths"]
    assert paths.keys() >= {
        "/api/v1/chat/{chat_id}", "/api/v1/chat/{chat_id}/events", "/api/v1/chats", "/api/v1/stop/{chat_id}",
        "/api/v1/stop/bulk", "/api/v1/runs", "/api/v1/agents", "/agents", "/chat", "/health", "/health/live",
    }  # fmt: skip
    for path, methods in paths.items():
        for method, route in methods.items():
            assert route.get("summary"), f"{method} {path} has no summary"
            assert route["responses"], f"{method} {path} has no answers"


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_ask_nothing_of_the_outside(client: Client, path: str) -> None:
    page = await client.http.get(path)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert not re.findall(r"(?:src|href)=[\"'](?:https?:)?//", page.text)
    assert "default-src" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_run_is_two_lines_in_the_log_and_they_carry_the_request_id(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    async with cluster.client(1) as client:
        client.http.headers["X-Request-ID"] = "find-me-in-the-log-1"
        stream = await client.ask(chat_id, "canary-words")

    def told() -> list[str]:
        return [line for line in cluster.backends[1].output.splitlines() if stream.run_id in line]

    await eventually(lambda: len(told()) == 2)  # the second one comes after the readers have been served
    lines = told()
    assert all("find-me-in-the-log-1" in line for line in lines)
    assert "canary-words" not in cluster.backends[1].output


async def test_one_kept_connection_takes_any_number_of_requests(cluster: Cluster) -> None:
    async with cluster.client(1) as client:
        client.http.headers["X-Padding"] = "x" * 4000
        for _ in range(40):
            await client.get("/health/live")
