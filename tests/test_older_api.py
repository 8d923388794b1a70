"""`POST /chat`: plain answers and plain text for older programs, on the same runs, memory and stop."""

import asyncio

import httpx
import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Failure, Reply
from tests.world.invariants import assert_invariants
from tests.world.waiting import eventually


def chat(client: Client, message: str, **more: object) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(client.http.post("/chat", json={"message": message, **more}))


async def test_a_plain_answer_has_the_whole_reply(client: Client, chat_id: str) -> None:
    answer = await chat(client, "hello", conversation_id=chat_id)
    assert answer.status_code == 200
    assert answer.json() == {
        "reply": Reply().text, "conversation_id": chat_id,
        "model": "qwen2.5:3b-instruct", "provider": "ollama",
        "outcome": "done",
    }  # fmt: skip
    assert [m["role"] for m in await client.messages(chat_id)] == ["user", "assistant"]


async def test_a_conversation_without_a_name_gets_one(client: Client) -> None:
    first = (await chat(client, "hello")).json()["conversation_id"]
    second = (await chat(client, "hello")).json()["conversation_id"]
    assert first != second
    assert (await client.chat_info(first))["message_count"] == 2


async def test_the_stream_is_plain_text(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(tokens=["Grüße\n", "[DONE]", "\r\n", " end"])
    answer = await chat(client, "hello", conversation_id=chat_id, stream=True)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Conversation-Id"] == chat_id
    assert answer.text == "Grüße\n[DONE]\n end"


async def test_chunks_come_as_they_are_made(cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = HELD
    async with cluster.client() as client:
        request = client.http.build_request(
            "POST", "/chat", json={"message": "hello", "stream": True, "conversation_id": chat_id}
        )
        answer = await client.http.send(request, stream=True)
        seen = ""
        async for text in answer.aiter_text():
            seen += text
            if seen == HELD_TEXT:
                await client.stop(chat_id)
        await answer.aclose()
        assert seen == f"{HELD_TEXT}\n[STOPPED]"
        assert (await client.messages(chat_id))[-1]["outcome"] == "stopped"


async def test_a_stop_ends_a_plain_answer_with_its_part(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    answering = chat(client, "hello", conversation_id=chat_id)
    await eventually(lambda: ollama.exchanges and ollama.exchanges[0].tokens_sent == 3)
    assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
    answer = (await answering).json()
    assert answer["outcome"] == "stopped"
    assert HELD_TEXT.startswith(answer["reply"])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_who_leaves_ends_the_run_at_once(
    cluster: Cluster, chat_id: str, ollama: FakeOllama, stream: bool
) -> None:
    ollama.default = FLOWING
    async with cluster.client() as leaving, cluster.client() as client:
        body = {"message": "hello", "stream": stream, "conversation_id": chat_id}
        answer = asyncio.create_task(leaving.http.post("/chat", json=body))
        await eventually(lambda: ollama.open_streams == 1 and ollama.exchanges[0].tokens_sent > 5)
        answer.cancel()
        await asyncio.wait([answer])
        await eventually(lambda: ollama.open_streams == 0)

        async def kept() -> bool:
            return [m.get("outcome") for m in await client.messages(chat_id)][1:] == ["stopped"]

        await eventually(kept)
        assert (await client.messages(chat_id))[-1]["content"].startswith("word0 ")
    await assert_invariants(cluster, models=[ollama])


async def test_a_failed_model_is_502_or_a_last_line(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(fault="error", fault_after=1, failure=Failure(message="secret"))
    plain = await chat(client, "hello", conversation_id=chat_id)
    assert (plain.status_code, plain.json()["code"]) == (502, "model_error")
    streamed = await chat(client, "hello", conversation_id=chat_id, stream=True)
    first, last = streamed.text.split("\n")
    assert first == "word0 "
    assert last.startswith("[ERROR] ")
    assert "secret" not in plain.text + streamed.text


@pytest.mark.parametrize("message", ["", "   \n", "x" * 4001])
async def test_an_empty_or_too_long_message_is_422(client: Client, message: str) -> None:
    assert (await chat(client, message)).status_code == 422


async def test_an_unknown_agent_is_400(client: Client) -> None:
    answer = await chat(client, "hello", agent="nobody")
    assert answer.status_code == 400
    assert "unknown agent" in answer.text.lower()


async def test_a_busy_conversation_is_409(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = HELD
    async with client.chat(chat_id, "hello") as stream:
        await stream.until_text(HELD_TEXT)
        assert (await chat(client, "again", conversation_id=chat_id)).status_code == 409
        await client.stop(chat_id, wait=5000)
        await stream.rest()
