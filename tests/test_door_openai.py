"""OpenAI's chat completions: what clients send is what the model sees; a run like any other lies under it."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import redis.asyncio as redis

from app.settings import Settings
from app.store.asked import Asked
from app.store.keys import Chat
from app.store.records import LiveRun, Message
from app.store.store import Store
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Failure, Reply, ToolCall
from tests.world.invariants import assert_invariants
from tests.world.sse import SseParser
from tests.world.waiting import eventually

URL = "/v1/chat/completions"


def asked(*texts: str, **more: Any) -> dict[str, Any]:
    """A body: the texts are of the user and the assistant in turn."""
    roles = ("user", "assistant")
    turns = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"model": "general", "messages": turns, **more}


@dataclass
class Chunked:
    """A streamed reply, as OpenAI's clients read it."""

    response: httpx.Response
    raw: bytes = b""
    chunks: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    _parser: SseParser = field(default_factory=SseParser)

    async def until(self, text: str) -> "Chunked":
        async with asyncio.timeout(30):
            while text not in self.text:
                self._take(await anext(self._pieces))
        return self

    async def rest(self) -> "Chunked":
        async with asyncio.timeout(30):
            async for piece in self._pieces:
                self._take(piece)
        return self

    def __post_init__(self) -> None:
        self._pieces = self.response.aiter_raw()

    def _take(self, piece: bytes) -> None:
        self.raw += piece
        for frame in self._parser.feed(piece):
            assert not self.done, "something behind the end"
            assert (frame.event, frame.id) == ("message", "")
            if frame.data == "[DONE]":
                self.done = True
            else:
                self.chunks.append(frame.json)
        assert not self._parser.comments, "a heartbeat must be a chunk"

    def joined(self, name: str) -> str:
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk.get("choices", [])]
        return "".join(delta.get(name, "") for delta in deltas)

    @property
    def text(self) -> str:
        return self.joined("content")

    @property
    def finishes(self) -> list[str]:
        found = [choice["finish_reason"] for chunk in self.chunks for choice in chunk.get("choices", [])]
        return [one for one in found if one]


@contextlib.asynccontextmanager
async def streamed(client: Client, body: dict[str, Any], **headers: str) -> AsyncIterator[Chunked]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.http.stream("POST", URL, json={**body, "stream": True}, headers=named) as response:
        assert response.status_code == 200, await response.aread()
        yield Chunked(response)


async def test_a_reply_comes_in_chunks_and_whole(client: Client, ollama: FakeOllama) -> None:
    ollama.default = Reply(tokens=["Hé\r\n", "[DONE]", " 进入", "\n\n"], thinking=("hm ", "so"))
    async with streamed(client, asked("hi", stream_options={"include_usage": True})) as stream:
        await stream.rest()
    assert stream.done
    assert stream.chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert stream.text == "Hé\n[DONE] 进入\n\n"
    assert stream.joined("reasoning_content") == "hm so"
    assert stream.finishes == ["stop"]
    assert {chunk["id"] for chunk in stream.chunks} == {f"chatcmpl-{stream.response.headers['X-Run-Id']}"}
    assert stream.chunks[-1]["choices"] == []
    usage = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
    assert stream.chunks[-1]["usage"] == usage
    whole = (await client.http.post(URL, json=asked("hi"))).json()
    assert whole["choices"][0]["message"] == {
        "role": "assistant",
        "content": stream.text,
        "reasoning_content": "hm so",
    }
    assert (whole["usage"], whole["choices"][0]["finish_reason"]) == (usage, "stop")


async def test_usage_comes_only_where_it_was_asked_for(client: Client, ollama: FakeOllama) -> None:
    async with streamed(client, asked("hi")) as stream:
        await stream.rest()
    assert all(chunk["choices"] for chunk in stream.chunks)
    assert stream.finishes == ["stop"]


async def test_a_reply_cut_by_its_length_says_so(client: Client, ollama: FakeOllama) -> None:
    ollama.default = Reply(stop_reason="length")
    async with streamed(client, asked("hi")) as stream:
        await stream.rest()
    assert (stream.finishes, stream.done) == (["length"], True)


async def test_the_model_sees_what_was_sent(client: Client, ollama: FakeOllama) -> None:
    many = [f"turn {n}" for n in range(21)]
    body = asked(*many, temperature=0.1, max_completion_tokens=7, top_p=0.3, tools=[{"type": "function"}])
    parts = [{"type": "text", "text": "see"}, {"type": "text", "text": "here"}]
    body["messages"] = [
        {"role": "system", "content": "Speak like a pirate."},
        {"role": "developer", "content": "Be brief."},
        *body["messages"][:-1],
        {"role": "user", "content": parts},
    ]
    assert (await client.http.post(URL, json=body)).status_code == 200
    sent = ollama.exchanges[-1].body
    system, *turns = sent["messages"]
    assert system["content"].endswith("\n\nSpeak like a pirate.\n\nBe brief.")
    assert [turn["content"] for turn in turns] == [*many[:-1], "see\n\nhere"]
    assert (sent["options"]["temperature"], sent["options"]["num_predict"]) == (0.1, 7)
    await client.http.post(URL, json=asked("hi", max_tokens=10**6))
    assert ollama.exchanges[-1].body["options"]["num_predict"] == 1024


async def test_a_conversation_that_ends_with_the_reply_goes_on(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    answer = await client.http.post(URL, json=asked("hi", "I was say"), headers={"X-Chat-Id": chat_id})
    assert answer.status_code == 200
    assert [turn["content"] for turn in ollama.exchanges[-1].body["messages"][1:]] == [
        "hi", "I was say", "Go on.",
    ]  # fmt: skip
    kept = [message["content"] for message in await client.messages(chat_id)]
    assert kept == ["hi", "I was say", ollama.default.text]


async def test_a_tool_is_told_as_a_thought_and_never_as_a_call(client: Client, ollama: FakeOllama) -> None:
    ollama.default = Reply(tool=ToolCall("calculate", {"expression": "12*3"}))
    body = {**asked("hi"), "model": "analyst"}
    async with streamed(client, body) as stream:
        await stream.rest()
    assert stream.joined("reasoning_content") == "\ncalculate(12*3) = 36\n"
    assert stream.text == ollama.default.text
    assert b"tool_calls" not in stream.raw
    message = (await client.http.post(URL, json=body)).json()["choices"][0]["message"]
    assert message["reasoning_content"] == "calculate(12*3) = 36"


async def test_without_a_chat_nothing_is_kept_but_it_is_a_run_like_any_other(
    cluster: Cluster, client: Client, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    before = await client.get("/api/v1/chats")
    async with streamed(client, asked("hi")) as stream:
        await stream.until(HELD_TEXT)
        chat_id = stream.response.headers["X-Chat-Id"]
        runs = (await client.get("/api/v1/runs"))["runs"]
        assert chat_id in [run["chat_id"] for run in runs]
        async with cluster.client(2) as elsewhere, elsewhere.attach(chat_id) as reader:
            await reader.until_text(HELD_TEXT)
            assert (await elsewhere.stop(chat_id, wait=5000))["result"] == "stopped"
            assert (await reader.rest()).outcome == "stopped"
        await stream.rest()
    assert (stream.finishes, stream.done, stream.text) == (["stop"], True, HELD_TEXT)
    assert await client.messages(chat_id) == []
    after = await client.get("/api/v1/chats")
    assert after["count"] == before["count"]
    async with redis.from_url(cluster.redis_url) as store:
        assert not await store.exists(f"chat:{{{chat_id}}}:messages")
        assert 0 < await store.ttl(f"chat:{{{chat_id}}}") <= 600
    await assert_invariants(cluster, models=[ollama])


@pytest.mark.parametrize("header", ["X-Chat-Id", "X-OpenWebUI-Chat-Id", "X-Conversation-Id"])
async def test_a_chat_becomes_the_conversation_that_was_sent(
    client: Client, chat_id: str, ollama: FakeOllama, header: str
) -> None:
    async def kept() -> list[str]:
        return [message["content"] for message in await client.messages(chat_id)]

    async def send(*texts: str) -> None:
        answer = await client.http.post(URL, json=asked(*texts), headers={header: chat_id})
        assert answer.status_code == 200, answer.text

    reply = ollama.default.text
    await send("one")
    first = await client.messages(chat_id)
    await send("one", reply, "two")
    second = await client.messages(chat_id)
    assert second[:2] == first  # what stays the same stays as it was, with its run and facts
    assert await kept() == ["one", reply, "two", reply]
    await send("one", reply, "two, edited")
    assert await kept() == ["one", reply, "two, edited", reply]
    assert (await client.messages(chat_id))[:2] == first
    await send("another beginning")
    assert await kept() == ["another beginning", reply]
    await client.ask(chat_id, "from the page")
    assert await kept() == ["another beginning", reply, "from the page", reply]
    run_id = (await client.messages(chat_id))[0]["run_id"]
    await client.ask(chat_id, "again", replaces=run_id)
    assert await kept() == ["again", reply]


async def test_a_brought_conversation_can_be_asked_again_from_any_place(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    headers = {"X-Chat-Id": chat_id}
    await client.http.post(URL, json=asked("a", "b", "c", "d", "e"), headers=headers)
    messages = await client.messages(chat_id)
    assert [message.get("run_id") for message in messages[:4]] == [None] * 4
    await client.ask(chat_id, "f", replaces=messages[4]["run_id"])
    assert [m["content"] for m in await client.messages(chat_id)] == [*list("abcdf"), ollama.default.text]


async def test_tasks_of_a_front_end_are_not_kept_and_use_no_tools(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("held", HELD)
    async with streamed(client, asked("held"), X_OpenWebUI_Chat_Id=chat_id) as stream:
        await stream.until(HELD_TEXT)
        headers = {"X-OpenWebUI-Chat-Id": chat_id, "X-OpenWebUI-Task": "title_generation"}
        answer = await client.http.post(URL, json={**asked("title?"), "model": "analyst"}, headers=headers)
        assert answer.json()["choices"][0]["finish_reason"] == "stop"
        assert not ollama.of("title?")[0].body.get("tools")
        await client.stop(chat_id, wait=5000)
        await stream.rest()
    assert [message["content"] for message in await client.messages(chat_id)] == ["held", HELD_TEXT]


async def test_the_next_message_of_a_front_end_that_hung_up_is_not_refused(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", FLOWING)
    async with streamed(client, asked("first"), X_Chat_Id=chat_id) as stream:
        await stream.until("word2 ")
    answer = await client.http.post(URL, json=asked("second"), headers={"X-Chat-Id": chat_id})
    assert answer.status_code == 200
    assert [message["content"] for message in await client.messages(chat_id)] == [
        "second", ollama.default.text,
    ]  # fmt: skip


PHASES = {
    "before the headers": (Reply(headers_delay=60), ""),
    "before the first token": (Reply(first_delay=60), ""),
    "between tokens": (FLOWING, "word2 "),
    "in a stalled model": (HELD, HELD_TEXT),
    "while it thinks": (Reply(thinking=["hm"], first_delay=0, tokens=["x"], fault="stall"), ""),
}


@pytest.mark.parametrize("whole", [False, True], ids=["streamed", "whole"])
@pytest.mark.parametrize("phase", PHASES)
async def test_hanging_up_is_a_stop_in_every_phase(
    cluster: Cluster, client: Client, ollama: FakeOllama, phase: str, whole: bool
) -> None:
    ollama.default, seen = PHASES[phase]
    mark = uuid.uuid4().hex
    async with cluster.client() as caller:
        if whole:
            calling = asyncio.create_task(caller.http.post(URL, json=asked(mark)))
            await eventually(lambda: ollama.of(mark))
            calling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await calling
        else:
            async with streamed(caller, asked(mark)) as stream:
                await stream.until(seen)
                await eventually(lambda: ollama.of(mark))
    await eventually(lambda: not ollama.of(mark)[0].is_open)
    assert ollama.of(mark)[0].left_at
    await assert_invariants(cluster, models=[ollama])


async def test_a_model_that_fails_is_told_whole_as_an_error_and_streamed_as_a_chunk(
    client: Client, ollama: FakeOllama
) -> None:
    ollama.default = Reply(refuse=True, failure=Failure(status=500))
    whole = await client.http.post(URL, json=asked("hi"))
    assert (whole.status_code, whole.headers["x-should-retry"]) == (502, "false")
    assert whole.json()["error"]["message"] == whole.json()["detail"]
    assert whole.json()["error"]["code"] == "model_error"
    for fault in (ollama.default, Reply(fault="error", fault_after=2), Reply(fault="drop", fault_after=2)):
        ollama.default = fault
        async with streamed(client, asked("hi")) as stream:
            await stream.rest()
        assert stream.done
        assert stream.finishes == []
        assert set(stream.chunks[-1]["error"]) == {"message", "type", "param", "code"}
        assert "provider-secret-detail" not in stream.raw.decode()


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown model": ({**asked("hi"), "model": "nope"}, 404, "model_not_found"),
    "two choices": (asked("hi", n=2), 400, "unsupported_parameter"),
    "a schema": (asked("hi", response_format={"type": "json_object"}), 400, "unsupported_parameter"),
    "a tool that must be called": (asked("hi", tool_choice="required"), 400, "unsupported_parameter"),
    "a named tool": (asked("hi", tool_choice={"type": "function"}), 400, "unsupported_parameter"),
    "a picture": (
        asked("hi")
        | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        400,
        "unsupported_parameter",
    ),
    "no messages": (asked(), 422, "invalid"),
    "an empty question": (asked(" "), 422, "invalid"),
    "a role nobody knows": (
        {"model": "general", "messages": [{"role": "x", "content": "y"}]},
        422,
        "invalid",
    ),
    "too warm": (asked("hi", temperature=3), 422, "invalid"),
    "too large": (asked("x" * (4 * 1024 * 1024)), 413, "too_large"),
}


@pytest.mark.parametrize("through", ["nginx", "a backend alone"])
@pytest.mark.parametrize("what", REFUSED)
async def test_a_refusal_has_the_error_that_clients_read(
    cluster: Cluster, ollama: FakeOllama, what: str, through: str
) -> None:
    body, status, code = REFUSED[what]
    async with cluster.client(None if through == "nginx" else 1) as client:
        answer = await client.http.post(URL, json=body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    told = answer.json()
    assert (told["code"], told["error"]["code"]) == (code, code)
    assert told["error"]["message"] == told["detail"]
    assert told["error"]["type"] == "invalid_request_error"
    assert not ollama.exchanges


async def test_four_megabytes_of_conversation_are_taken_here_and_not_elsewhere(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    long = ["x" * 99_000] * 37
    answer = await client.http.post(URL, json=asked(*long), headers={"X-Chat-Id": chat_id})
    assert answer.status_code == 200, answer.text
    elsewhere = await client.http.post(f"/api/v1/chat/{chat_id}", json={"message": "x" * 300_000})
    assert elsewhere.status_code == 413


async def test_a_bad_name_of_a_chat_is_refused(client: Client, ollama: FakeOllama) -> None:
    answer = await client.http.post(URL, json=asked("hi"), headers={"X-Chat-Id": "{{CHAT_ID}}"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    temporary = await client.http.post(URL, json=asked("hi"), headers={"X-OpenWebUI-Chat-Id": "local:Ab-1"})
    assert temporary.status_code == 200


async def test_agents_are_models_the_same_on_every_backend(cluster: Cluster, client: Client) -> None:
    listed = await client.get("/v1/models")
    assert [model["id"] for model in listed["data"]] == (await client.get("/agents"))["agents"]
    for n in cluster.numbers:
        async with cluster.client(n) as one:
            assert await one.get("/v1/models") == listed
    assert await client.get("/v1/models/general") == listed["data"][0]
    unknown = await client.http.get("/v1/models/nope")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_start_that_is_taken_back_gives_the_whole_chat_back(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    """Redis carries START and BECOME out, their answer is lost, and the backend takes them back."""
    await client.ask(chat_id, "one")
    before = await client.chat_info(chat_id)
    chat = Chat("", chat_id)
    async with redis.from_url(cluster.redis_url) as store:
        hashed = await store.hgetall(chat.key)
        lines = await store.lrange(chat.messages, 0, -1)
        await taken_back(cluster.redis_url, chat)
        assert await store.lrange(chat.messages, 0, -1) == lines
        after = await store.hgetall(chat.key)
        for fields in (hashed, after):  # a version's number is never used twice
            fields.pop(b"version", None)
        assert after == hashed
        assert not await store.exists(chat.versions)
    assert await client.chat_info(chat_id) == before


async def taken_back(url: str, chat: Chat) -> None:
    async with Store(Settings.model_validate({"redis_url": url})) as ours:
        live = LiveRun(uuid.uuid4().hex, 0, "general", "ollama", "m", "b", "p", uuid.uuid4().hex)
        asking = Asked("new", "digest", None, [Message("user", "other"), Message("assistant", "beginning")])
        await ours.memory.start(chat, live, asking, [])
        changed = await ours.memory.read(chat)
        assert [message.content for message in changed.messages] == ["other", "beginning", "new"]
        await ours.memory.start(chat, live, asking, [])  # a repeated exchange changes nothing
        assert await ours.memory.read(chat) == changed
        await ours.memory.undo(chat, live, asking)
        await ours.memory.undo(chat, live, asking)
