"""A chat from the outside: messages, status, what is kept of them, on whichever backend."""

import re

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.invariants import assert_invariants
from tests.world.waiting import eventually

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_message_is_answered_from_start_to_end(client: Client, chat_id: str) -> None:
    stream = await client.ask(chat_id, "hello", run_id="run-chosen-by-client")
    assert [frame.event for frame in stream.frames] == ["start", *["text"] * (len(stream.frames) - 2), "end"]
    start = stream.of("start")[0]
    assert TIME.fullmatch(start.pop("created_at"))
    assert start == {
        "run_id": "run-chosen-by-client", "chat_id": chat_id, "agent": "general", "provider": "ollama",
        "model": "qwen2.5:3b-instruct", "backend": stream.backend,
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
    assert headers["Cache-Control"] == "no-cache, no-transform"
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
    assert (info["status"], info["message_count"], info["agent"], info["run"]) == (
        "active",
        4,
        "general",
        None,
    )


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


async def test_a_question_can_be_edited_and_asked_again(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    first = await client.ask(chat_id, "first")
    second = await client.ask(chat_id, "secnod")
    await client.ask(chat_id, "third")
    edited = await client.ask(chat_id, "second", replaces=second.run_id)
    assert edited.outcome == "done"
    assert [m["content"] for m in await client.messages(chat_id) if m["role"] == "user"] == [
        "first",
        "second",
    ]
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


async def test_a_run_id_of_a_deleted_chat_may_be_used_again_at_once(client: Client, chat_id: str) -> None:
    for _ in range(3):
        stream = await client.ask(chat_id, "hello", run_id="the-very-same-id")
        assert (stream.outcome, stream.text) == ("done", "".join(f"word{n} " for n in range(5)))
        assert (await client.replay(chat_id)).text == stream.text
        assert (await client.http.delete(f"/api/v1/chat/{chat_id}")).status_code == 200
