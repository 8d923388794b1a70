"""A chat from the outside: messages, status, the list, one run at a time, on whichever backend."""

import asyncio
import functools
import os
import re
from collections.abc import Callable

import pytest

from tests.client import Client
from tests.cluster import Cluster
from tests.fakes.ollama import FakeOllama
from tests.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.invariants import Witness, assert_invariants
from tests.waiting import eventually

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def all_but_one_done(tasks: list["asyncio.Task[tuple[int, str]]"]) -> bool:
    return sum(task.done() for task in tasks) >= len(tasks) - 1


async def test_a_message_is_answered_from_start_to_end(client: Client, chat_id: str) -> None:
    stream = await client.ask(chat_id, "hello", run_id="run-chosen-by-client")
    assert [frame.event for frame in stream.frames] == ["start", *["text"] * (len(stream.frames) - 2), "end"]
    start = stream.of("start")[0]
    assert TIME.fullmatch(start.pop("created_at"))
    assert start == {
        "run_id": "run-chosen-by-client", "chat_id": chat_id, "agent": "general", "provider": "ollama",
        "model": "llama3.2:3b", "backend": stream.backend,
    }  # fmt: skip
    assert stream.text == "word0 word1 word2 word3 word4 "
    assert stream.end["outcome"] == "done"
    assert stream.end["usage"] == {"input_tokens": 11, "output_tokens": 5, "exact": True}
    assert stream.end["duration_ms"] >= 0
    assert stream.end["stop_reason"] == "end_turn"
    assert "error" not in stream.end


async def test_the_stream_has_the_headers_of_the_contract(client: Client, chat_id: str) -> None:
    stream = await client.ask(chat_id, "hello")
    headers = stream.response.headers
    assert headers["Content-Type"].startswith("text/event-stream")
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Chat-Id"] == chat_id
    assert headers["X-Accel-Buffering"] == "no"
    assert stream.frames[0].id == f"{headers['X-Run-Id']}:1"
    assert re.fullmatch(r"backend-[123]", headers["X-Backend"])


async def test_headers_and_a_comment_leave_before_the_model_answers(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(headers_delay=100)
    async with client.chat(chat_id, "hello") as stream:
        await stream.until(lambda s: bool(s.comments and s.of("start")))
        assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
        assert (await stream.rest()).outcome == "stopped"


async def test_all_three_backends_take_part(client: Client) -> None:
    names = {(await client.get("/health"))["backend"] for _ in range(12)}
    assert names == {"backend-1", "backend-2", "backend-3"}


async def test_a_chat_is_known_on_every_backend(cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        await one.ask(chat_id, "first question")
        await two.ask(chat_id, "second question")
        info = await three.chat_info(chat_id)
    sent = ollama.of("second question")[0].body["messages"]
    assert [(m["role"], m["content"]) for m in sent if m["role"] != "system"] == [
        ("user", "first question"), ("assistant", Reply().text), ("user", "second question"),
    ]  # fmt: skip
    assert [m["role"] for m in info["messages"]] == ["user", "assistant", "user", "assistant"]
    assert (info["status"], info["message_count"], info["agent"], info["run"]) == ("active", 4, "general", None)


async def test_messages_carry_time_run_and_outcome(client: Client, chat_id: str) -> None:
    stream = await client.ask(chat_id, "hello")
    question, answer = await client.messages(chat_id)
    assert question["content"] == "hello"
    assert question["run_id"] == answer["run_id"] == stream.run_id
    assert TIME.fullmatch(question["created_at"])
    assert TIME.fullmatch(answer["created_at"])
    assert (answer["content"], answer["outcome"]) == (stream.text, "done")


async def test_an_unknown_chat_is_new(client: Client, chat_id: str) -> None:
    info = await client.chat_info(chat_id)
    assert (info["chat_id"], info["status"], info["messages"], info["message_count"], info["run"]) == (
        chat_id, "new", [], 0, None,
    )  # fmt: skip


async def test_a_running_chat_says_so_everywhere(cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = HELD
    async with cluster.client(1) as owner, cluster.client(2) as other, owner.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        info = await other.chat_info(chat_id)
        assert info["status"] == "running"
        assert {**info["run"], "started_at": ""} == {
            "run_id": stream.run_id, "agent": "general", "backend": "backend-1", "started_at": "",
        }  # fmt: skip
        runs = await other.get("/api/v1/runs")
        assert runs["count"] == len(runs["runs"])
        mine = [run for run in runs["runs"] if run["chat_id"] == chat_id]
        assert [(run["run_id"], run["backend"], run["agent"]) for run in mine] == [
            (stream.run_id, "backend-1", "general")
        ]
        chats = (await other.get("/api/v1/chats?limit=5"))["chats"]
        assert [chat["status"] for chat in chats if chat["chat_id"] == chat_id] == ["running"]
        await other.stop(chat_id, wait=5000)
    await assert_invariants(cluster, models=[ollama])


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


async def test_a_deleted_chat_is_forgotten(client: Client, chat_id: str) -> None:
    await client.ask(chat_id, "hello")
    answer = await client.http.delete(f"/api/v1/chat/{chat_id}")
    assert (answer.status_code, answer.json()) == (200, {"chat_id": chat_id, "status": "deleted"})
    assert (await client.chat_info(chat_id))["status"] == "new"
    assert (await client.replay(chat_id)).status == 204
    assert chat_id not in str(await client.get("/api/v1/chats?limit=200"))
    assert (await client.http.delete(f"/api/v1/chat/{chat_id}")).status_code == 404


async def test_delete_stops_the_run_and_nothing_is_written_back(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    async with cluster.client(1) as owner, cluster.client(2) as other, owner.chat(chat_id, "hello") as stream:
        await stream.until_text("word3")
        assert (await other.http.delete(f"/api/v1/chat/{chat_id}")).status_code == 200
        assert (await stream.rest()).outcome == "stopped"
        await eventually(lambda: ollama.open_streams == 0)
        assert (await other.chat_info(chat_id))["status"] == "new"
    await assert_invariants(cluster, models=[ollama])


async def test_a_second_message_is_refused_while_one_runs(cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = HELD
    witness = Witness(chat_id)
    async with cluster.client(1) as owner, cluster.client(3) as other:
        async with owner.chat(chat_id, "first") as stream:
            witness.saw(stream, "first")
            await stream.until_text(HELD_TEXT)
            for person in (owner, other):
                async with person.chat(chat_id, "second") as refused:
                    problem = refused.response.json()
                    assert (refused.status, problem["code"]) == (409, "chat_busy")
                    assert (problem["run_id"], problem["backend"]) == (stream.run_id, "backend-1")
            await other.stop(chat_id, wait=5000)
            await stream.rest()
        assert [m["content"] for m in await other.messages(chat_id)] == ["first", HELD_TEXT]
    assert not ollama.of("second")
    await assert_invariants(cluster, [witness], models=[ollama])


async def test_replace_stops_the_running_reply_and_keeps_its_part(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", HELD)
    witness = Witness(chat_id)
    async with cluster.client(1) as owner, cluster.client(2) as other, owner.chat(chat_id, "first") as stream:
        witness.saw(stream, "first")
        await stream.until_text(HELD_TEXT)
        second = await other.ask(chat_id, "second", on_busy="replace")
        witness.saw(second, "second")
        assert second.outcome == "done"
        assert (await stream.rest()).outcome == "stopped"
        kept = [(m["content"], m.get("outcome")) for m in await other.messages(chat_id)]
        assert [content for content, _ in kept] == ["first", HELD_TEXT, "second", Reply().text]
        assert kept[1][1] == "stopped"
    await assert_invariants(cluster, [witness], models=[ollama])


async def test_the_same_run_id_joins_the_run_and_never_starts_another(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=40, pace=0.02)
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        running, joined, again = await asyncio.gather(
            *(person.ask(chat_id, "hello", run_id="same-run-id") for person in (one, two, three))
        )
        late = await two.ask(chat_id, "hello", run_id="same-run-id")
        for stream in (joined, again, late):
            assert (stream.text, stream.outcome) == (running.text, "done")
        assert len(ollama.of("hello")) == 1
        async with three.chat(chat_id, "something else", run_id="same-run-id") as refused:
            assert (refused.status, refused.response.json()["code"]) == (409, "run_id_used")
        assert len(await one.messages(chat_id)) == 2


async def test_of_many_messages_at_once_one_runs_and_the_others_hear_which(
    cluster: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    ollama.default = HELD
    for _ in range(int(os.environ.get("SOAK_PARALLEL", "3"))):
        chat_id = new_chat()
        async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:

            async def send(person: Client, n: int, chat_id: str = chat_id) -> tuple[int, str]:
                async with person.chat(chat_id, f"message {n}") as stream:
                    if stream.status == 200:
                        await stream.rest()
                        return 200, stream.run_id
                    return stream.status, str(stream.response.json()["run_id"])

            people = [(one, two, three)[n % 3] for n in range(20)]
            sending = [asyncio.create_task(send(person, n)) for n, person in enumerate(people)]
            await eventually(functools.partial(all_but_one_done, sending))
            assert (await one.stop(chat_id, wait=5000))["result"] == "stopped"
            answers = await asyncio.gather(*sending)
            assert sorted(status for status, _ in answers) == [200] + [409] * 19
            assert len({run_id for _, run_id in answers}) == 1
            assert [m["role"] for m in await one.messages(chat_id)] == ["user", "assistant"]
    await assert_invariants(cluster, models=[ollama])


async def test_a_message_right_after_the_terminal_frame_is_never_busy(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=2)
    for n in range(20):
        assert (await client.ask(chat_id, f"message {n}")).outcome == "done"


async def test_a_question_can_be_edited_and_asked_again(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    first = await client.ask(chat_id, "first")
    second = await client.ask(chat_id, "secnod")
    await client.ask(chat_id, "third")
    edited = await client.ask(chat_id, "second", replaces=second.run_id)
    assert edited.outcome == "done"
    assert [m["content"] for m in await client.messages(chat_id) if m["role"] == "user"] == ["first", "second"]
    sent = [m["content"] for m in ollama.of("second")[-1].body["messages"] if m["role"] == "user"]
    assert sent == ["first", "second"]
    async with client.chat(chat_id, "again", replaces=second.run_id) as refused:
        assert (refused.status, refused.response.json()["code"]) == (404, "not_found")
    assert first.run_id in str(await client.messages(chat_id))


async def test_a_chat_can_be_renamed_and_exported(client: Client, chat_id: str) -> None:
    await client.ask(chat_id, "hello")
    renamed = await client.http.patch(f"/api/v1/chat/{chat_id}", json={"title": "A better name"})
    assert (renamed.status_code, renamed.json()) == (200, {"chat_id": chat_id, "title": "A better name"})
    assert (await client.chat_info(chat_id))["title"] == "A better name"
    assert (await client.http.patch("/api/v1/chat/never-seen", json={"title": "x"})).status_code == 404
    for form, part in (("markdown", "hello"), ("json", '"hello"')):
        export = await client.http.get(f"/api/v1/chat/{chat_id}/export?format={form}")
        assert export.status_code == 200
        assert export.headers["Content-Disposition"].startswith("attachment")
        assert part in export.text
        assert Reply().text.strip() in export.text


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
        "status": "healthy", "redis": "connected", "provider": "ollama", "model": "llama3.2:3b",
        "stop_listener": "listening",
    }  # fmt: skip
    assert (await client.http.get("/health/live")).status_code == 200


async def test_the_status_page_has_its_figures(cluster: Cluster, client: Client, chat_id: str) -> None:
    async def all_here() -> bool:
        status = await client.get("/api/v1/status")
        return {b["backend"] for b in status["backends"]} == {"backend-1", "backend-2", "backend-3"}

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
