"""The fakes speak the real wire: checked with the real clients."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import ollama
import pytest
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.eventstream import ChecksumMismatch
from botocore.exceptions import ClientError, EventStreamError

from tests.world.fakes import bedrock
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.model import FakeModel
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.proxy import FaultProxy
from tests.world.fakes.reply import Failure, Reply, ToolCall
from tests.world.waiting import eventually

WEATHER = ToolCall("weather", {"city": "Graz", "days": 3})


@pytest.fixture
async def fake_ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as fake:
        yield fake


@pytest.fixture
async def fake_bedrock() -> AsyncIterator[FakeBedrock]:
    async with FakeBedrock() as fake:
        yield fake


async def ask_ollama(fake: FakeModel, question: str = "hi", **more: Any) -> list[ollama.ChatResponse]:
    client = ollama.AsyncClient(fake.url)
    async with client:
        messages = more.pop("messages", [{"role": "user", "content": question}])
        stream = await client.chat(model="llama3.2", messages=messages, stream=True, **more)
        return [part async for part in stream]


@contextlib.asynccontextmanager
async def bedrock_client(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", fake.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    config = Config(retries={"total_max_attempts": 1})
    async with get_session().create_client(
        "bedrock-runtime", region_name="eu-central-1", config=config
    ) as client:
        yield client


def bedrock_messages(text: str = "hi") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"text": text}]}]


async def ask_bedrock(client: Any, messages: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    answer = await client.converse_stream(
        modelId="anthropic.claude-x-v2:0", messages=messages or bedrock_messages()
    )
    try:
        return [part async for part in answer["stream"]]
    finally:
        answer["stream"].close()


async def test_ollama_streams_tokens_and_counts(fake_ollama: FakeOllama) -> None:
    fake_ollama.default = Reply(tokens=["Grü", "ß ", "Gott"], thinking=["hm"], lump=2, torn=True)
    parts = await ask_ollama(fake_ollama, "hello there")
    assert "".join(part.message.content or "" for part in parts) == "Grüß Gott"
    assert parts[0].message.thinking == "hm"
    assert (parts[-1].done, parts[-1].done_reason, parts[-1].prompt_eval_count, parts[-1].eval_count) == (
        True,
        "stop",
        11,
        3,
    )
    (exchange,) = fake_ollama.of("hello")
    assert exchange.body["model"] == "llama3.2"
    assert exchange.tokens_sent == 3
    assert not exchange.is_open


async def test_ollama_asks_for_a_tool_and_then_answers(fake_ollama: FakeOllama) -> None:
    fake_ollama.default = Reply(tokens=["sunny"], tool=WEATHER)
    (call,) = [p.message.tool_calls for p in await ask_ollama(fake_ollama) if p.message.tool_calls]
    assert call[0].function.arguments == WEATHER.input
    history = [{"role": "user", "content": "hi"}, {"role": "tool", "content": "21 degrees"}]
    assert (await ask_ollama(fake_ollama, messages=history))[0].message.content == "sunny"


async def test_ollama_tells_what_it_knows(fake_ollama: FakeOllama) -> None:
    fake_ollama.models, fake_ollama.capabilities = ("llama3.2",), ("completion",)
    async with ollama.AsyncClient(fake_ollama.url) as client:
        assert (await client.show("llama3.2")).capabilities == ["completion"]
        assert [model.model for model in (await client.list()).models] == ["llama3.2"]
        with pytest.raises(ollama.ResponseError, match="not found") as missing:
            await client.show("other")
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="does not support tools"):
        await ask_ollama(fake_ollama, tools=[{"type": "function", "function": {"name": "f"}}])


async def test_ollama_goes_wrong_as_told(fake_ollama: FakeOllama) -> None:
    fake_ollama.script.extend(
        [
            Reply(refuse=True, failure=Failure(503, message="server busy")),
            Reply(fault="error", fault_after=2),
            Reply(fault="drop", fault_after=2),
            Reply(fault="malformed", fault_after=1),
        ]
    )
    with pytest.raises(ollama.ResponseError, match="server busy"):
        await ask_ollama(fake_ollama)
    with pytest.raises(ollama.ResponseError, match="something broke"):
        await ask_ollama(fake_ollama)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await ask_ollama(fake_ollama)
    with pytest.raises(ValueError, match="Unterminated string"):
        await ask_ollama(fake_ollama)


async def test_ollama_truncates_politely(fake_ollama: FakeOllama) -> None:
    fake_ollama.default = Reply(fault="truncate", fault_after=3)
    assert [part.done for part in await ask_ollama(fake_ollama)] == [False] * 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(headers_delay=60),
        Reply(first_delay=60),
        Reply(fault="stall", fault_after=2),
        Reply(tokens=1000, pace=0.02),
    ],
    ids=["before the headers", "before the first token", "stalled", "flowing"],
)
async def test_a_client_that_leaves_is_noticed_at_once(fake_ollama: FakeOllama, reply: Reply) -> None:
    fake_ollama.default = reply
    task = asyncio.create_task(ask_ollama(fake_ollama))
    await eventually(lambda: fake_ollama.open_streams == 1)
    if reply.fault == "stall" or reply.pace:
        await eventually(lambda: fake_ollama.exchanges[0].tokens_sent >= 2)
    task.cancel()
    left = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: fake_ollama.open_streams == 0)
    (exchange,) = fake_ollama.exchanges
    assert exchange.left_at
    assert exchange.left_at - left < 1
    await eventually(lambda: fake_ollama.open_connections == 0)


async def test_bedrock_streams_text_and_thoughts(
    fake_bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_bedrock.default = Reply(tokens=["Grü", "ß"], thinking=["hm"], torn=True, lump=2)
    async with bedrock_client(fake_bedrock, monkeypatch) as client:
        parts = await ask_bedrock(client)
    deltas = [part["contentBlockDelta"]["delta"] for part in parts if "contentBlockDelta" in part]
    assert deltas == [{"reasoningContent": {"text": "hm"}}, {"text": "Grü"}, {"text": "ß"}]
    assert [next(iter(part)) for part in parts][-3:] == ["contentBlockStop", "messageStop", "metadata"]
    assert parts[-1]["metadata"]["usage"] == {"inputTokens": 11, "outputTokens": 2, "totalTokens": 13}
    assert fake_bedrock.exchanges[0].path == "/model/anthropic.claude-x-v2:0/converse-stream"


async def test_bedrock_asks_for_a_tool_and_then_answers(
    fake_bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_bedrock.default = Reply(tokens=["sunny"], tool=WEATHER)
    result = {"toolUseId": WEATHER.tool_use_id, "content": [{"text": "21 degrees"}]}
    call = {"toolUseId": WEATHER.tool_use_id, "name": WEATHER.name, "input": WEATHER.input}
    behind = [
        {"role": "assistant", "content": [{"toolUse": call}]},
        {"role": "user", "content": [{"toolResult": result}]},
    ]
    async with bedrock_client(fake_bedrock, monkeypatch) as client:
        asked = await ask_bedrock(client)
        answered = await ask_bedrock(client, [*bedrock_messages(), *behind])
    assert asked[1]["contentBlockStart"]["start"]["toolUse"]["name"] == "weather"
    assert asked[-2]["messageStop"]["stopReason"] == "tool_use"
    assert answered[-2]["messageStop"]["stopReason"] == "end_turn"


@pytest.mark.parametrize(
    "failure",
    [
        bedrock.THROTTLED,
        bedrock.DENIED,
        bedrock.OVERFLOW,
        bedrock.UNKNOWN_MODEL,
        bedrock.EXPIRED,
    ],
    ids=lambda failure: failure.code,
)
async def test_bedrock_refuses_with_its_codes(
    fake_bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    fake_bedrock.default = Reply(refuse=True, failure=failure)
    async with bedrock_client(fake_bedrock, monkeypatch) as client:
        with pytest.raises(ClientError) as error:
            await ask_bedrock(client)
    assert error.value.response["Error"] == {"Code": failure.code, "Message": failure.message}


async def test_bedrock_goes_wrong_inside_the_stream(
    fake_bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_bedrock.script.extend(
        [
            Reply(fault="error", fault_after=2, failure=bedrock.THROTTLED_IN_STREAM),
            Reply(fault="malformed", fault_after=2),
            Reply(fault="drop", fault_after=2),
            Reply(fault="truncate", fault_after=2),
        ]
    )
    async with bedrock_client(fake_bedrock, monkeypatch) as client:
        with pytest.raises(EventStreamError, match="throttlingException"):
            await ask_bedrock(client)
        with pytest.raises(ChecksumMismatch, match="Checksum mismatch"):
            await ask_bedrock(client)
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask_bedrock(client)
        assert "messageStop" not in str(await ask_bedrock(client))


async def test_the_proxy_drops_delays_freezes_and_cuts(fake_ollama: FakeOllama) -> None:
    async with FaultProxy("127.0.0.1", fake_ollama.port) as proxy, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{proxy.port}/api/version"
        assert (await client.get(url)).status_code == 200
        proxy.drop_every = 1
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url)
        proxy.heal()
        assert proxy.dropped == 1
        proxy.freeze()
        waiting = asyncio.create_task(client.get(url))
        await eventually(lambda: proxy.open_links == 1)
        assert not waiting.done()
        proxy.heal()
        assert (await waiting).status_code == 200
        proxy.freeze()
        waiting = asyncio.create_task(client.get(url))
        assert proxy.cut() == 1
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await waiting
        proxy.refuse = True
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await client.get(url)
