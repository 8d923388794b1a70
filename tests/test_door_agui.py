"""AG-UI: its events are those of the protocol, its runs and threads are ours."""

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from ag_ui.core import Event
from pydantic import TypeAdapter

from app import events as ours
from app.api.agui_frames import AgUi
from app.runs.feed import Feed
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Failure, Reply, ToolCall
from tests.world.invariants import assert_invariants
from tests.world.sse import Frame, SseParser
from tests.world.waiting import eventually

SCHEMA: TypeAdapter[Any] = TypeAdapter(Event)


def body(chat_id: str, *texts: str, **more: Any) -> dict[str, Any]:
    turns = [
        {"id": str(n), "role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)
    ]
    return {"threadId": chat_id, "runId": uuid.uuid4().hex, "messages": turns, **more}


def read(content: bytes) -> list[Frame]:
    frames = SseParser().feed(content)
    for frame in frames:
        SCHEMA.validate_python(frame.json)
    return frames


def text_of(frames: list[Frame]) -> str:
    return "".join(one.json["delta"] for one in frames if one.json["type"] == "TEXT_MESSAGE_CHUNK")


def kinds(frames: list[Frame]) -> list[str]:
    return [frame.json["type"] for frame in frames]


async def test_a_run_with_thoughts_and_a_tool(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(thinking=("hm",), tool=ToolCall("calculate", {"expression": "12*3"}))
    asked = body(chat_id, "hi", context=[{"description": "Page", "value": "Orders"}])
    answer = await client.http.post("/api/v1/ag-ui/analyst", json=asked)
    frames = read(answer.content)
    assert kinds(frames)[:2] == ["RUN_STARTED", "CUSTOM"]
    call = kinds(frames).index("TOOL_CALL_START")
    assert kinds(frames)[call : call + 4] == [
        "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT",
    ]  # fmt: skip
    assert frames[call + 3].json["content"] == "36"
    assert text_of(frames) == ollama.default.text
    assert frames[-1].json["outcome"] == {"type": "success"}
    assert frames[0].json["runId"] == asked["runId"]
    assert ollama.exchanges[-1].body["messages"][0]["content"].endswith("Page: Orders")
    again = await client.http.post("/api/v1/ag-ui/analyst", json=asked)
    assert read(again.content) == frames
    assert len(ollama.exchanges) == 2  # before the tool and behind it: the second request asked nobody


async def test_the_chat_becomes_the_thread(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    await client.http.post("/api/v1/ag-ui/general", json=body(chat_id, "one"))
    asked = body(chat_id, "one", ollama.default.text, "two")
    shown = {"id": "line", "role": "activity", "activityType": "QUEUE", "content": {"position": 1}}
    asked["messages"].insert(1, shown)  # its client sends back all that it was told
    answer = await client.http.post("/api/v1/ag-ui/general", json=asked)
    assert answer.status_code == 200, answer.text
    assert "RUN_FINISHED" in answer.text, answer.text
    kept = [message["content"] for message in await client.messages(chat_id)]
    assert kept == ["one", ollama.default.text, "two", ollama.default.text]


async def test_a_stop_from_another_backend_and_an_attach_elsewhere(
    cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    asked = body(chat_id, "hi")
    url = f"/api/v1/chat/{chat_id}/events"
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        async with one.http.stream("POST", "/api/v1/ag-ui/general", json=asked) as response:
            raw = b""
            pieces = response.aiter_raw()
            while b"word2" not in raw:
                raw += await anext(pieces)
            assert (await two.stop(chat_id, wait=5000))["result"] == "stopped"
            async for piece in pieces:
                raw += piece
        whole = read(raw)
        assert whole[-1].json["outcome"] == {"type": "cancelled"}
        assert [message["content"] for message in await two.messages(chat_id)] == ["hi", HELD_TEXT]
        for seen, frame in enumerate(whole):
            if frame.id and (not seen or frame.id != whole[seen - 1].id):
                place = {"format": "ag-ui", "after": frame.id}
                rest = await (two, three)[seen % 2].http.get(url, params=place)
                assert read(rest.content) == whole[seen + 1 :]
        everything = await three.http.get(url, params={"format": "ag-ui"})
        assert read(everything.content) == whole


@pytest.mark.parametrize("stays", [False, True])
async def test_hanging_up_stops_unless_the_client_says_that_it_comes_back(
    cluster: Cluster, chat_id: str, ollama: FakeOllama, stays: bool
) -> None:
    ollama.on(chat_id, HELD)
    props = {"forwardedProps": {"onDisconnect": "continue"}} if stays else {}
    async with cluster.client() as client:
        asked = body(chat_id, chat_id, **props)
        async with client.http.stream("POST", "/api/v1/ag-ui/general", json=asked):
            await eventually(lambda: ollama.of(chat_id))
        if stays:
            assert (await client.chat_info(chat_id))["status"] == "running"
            assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
    await eventually(lambda: not ollama.of(chat_id)[0].is_open)
    await assert_invariants(cluster, models=[ollama])


async def test_a_failure_is_a_run_error(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(refuse=True, failure=Failure(status=500))
    answer = await client.http.post("/api/v1/ag-ui/general", json=body(chat_id, "hi"))
    last = read(answer.content)[-1].json
    assert (last["type"], last["code"]) == ("RUN_ERROR", "model_error")


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"threadId": "a b"}, 422),
        ({"runId": "x"}, 422),
        ({"messages": []}, 422),
        ({"messages": [{"role": "nobody"}]}, 422),
        ({"resume": [{"interruptId": "x", "status": "resolved"}]}, 422),
        ({"resume": [{"interruptId": "x", "status": "resolved", "payload": {"approved": True}}]}, 404),
    ],
)
async def test_what_cannot_be_run_is_refused(
    client: Client, chat_id: str, ollama: FakeOllama, more: dict[str, Any], status: int
) -> None:
    answer = await client.http.post("/api/v1/ag-ui/general", json={**body(chat_id, "hi"), **more})
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)
    assert not ollama.exchanges


async def test_an_unknown_agent_is_refused(client: Client, new_chat: Callable[[], str]) -> None:
    answer = await client.http.post("/api/v1/ag-ui/nope", json=body(new_chat(), "hi"))
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_agent")


def test_every_event_of_random_runs_is_one_of_the_protocol_whatever_was_seen_before() -> None:
    dice = random.Random(7)
    usage = ours.Usage(1, 2, True)
    start = ours.Start("run-12345678", "chat", "general", "demo", "demo", "b", "2026-01-01T00:00:00.000Z")
    for _ in range(200):
        feed = Feed("chat", "run-12345678")
        choices: list[ours.Event] = [
            ours.Text("x"), ours.Reasoning("y"), ours.Tool("t", "calculate", "running", {"a": 1}),
            ours.Tool("t", "calculate", "done", None, "2"), ours.Tool("t", "calculate", "stopped"),
            ours.Tool("h", "sums", "running", {"task": "x"}), ours.Tool("h", "sums", "failed", None, "no"),
            ours.Tool("n", "calculate", "running", {"a": 1}, parent="h"),
            ours.Tool("n", "calculate", "done", None, "2", parent="h"),
            ours.Queue(2, 3, 10), ours.Unknown("news", "{}"),
        ]  # fmt: skip
        middle = dice.choices(choices, k=dice.randrange(12))
        failure = dice.choice([None, ours.Failure("model_error", "Broken.")])
        outcome = "failed" if failure else dice.choice(["done", "stopped"])
        feed.add(start, *middle, ours.End(outcome, "end_turn", usage, 1, error=failure))  # type: ignore[arg-type]
        frame = AgUi(feed)
        whole = [frame(feed.run_id, n, event) for n, event in enumerate(feed.events, 1)]
        read("".join(whole).encode())
        seen = dice.randrange(len(whole))
        again = AgUi(feed)
        rest = [again(feed.run_id, n, event) for n, event in enumerate(feed.events, 1) if n > seen]
        assert rest == whole[seen:]
