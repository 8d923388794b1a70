"""At the doors for other programs: who reads there sees that a person is asked, and can answer."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ag_ui.core import Event
from pydantic import TypeAdapter

from tests.conftest import ollama_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.waiting import eventually

SCHEMA: TypeAdapter[Any] = TypeAdapter(Event)
BASE = "/team/chat"
SUM = ToolCall("calculate", {"expression": "6*7"})
CAREFUL = 'description = "asks"\nprompt = "Ask."\ntools = ["calculate"]\napprove = true\n'


@pytest.fixture(scope="module")
async def the_doors(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    where: Path = tmp_path_factory.mktemp("doors")
    (where / "careful.toml").write_text(CAREFUL)
    env = {**ollama_env(the_ollama), "AGENTS_DIR": str(where), "BASE_PATH": BASE}
    async with Cluster(where, redis_url, env=env, backends=2) as cluster:
        yield cluster


@pytest.fixture
async def doors(the_doors: Cluster, ollama: FakeOllama) -> Cluster:
    ollama.default = Reply(tool=SUM, tokens=["it is ", "42"])
    return the_doors


def body(chat_id: str, **more: Any) -> dict[str, Any]:
    message = {"id": "1", "role": "user", "content": "go"}
    return {"threadId": chat_id, "runId": uuid.uuid4().hex, "messages": [message], **more}


async def run(client: Client, asked: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await client.http.post("/api/v1/ag-ui/careful", json=asked)
    assert answer.status_code == 200, answer.text
    return events(answer.text)


def events(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    for one in found:
        SCHEMA.validate_python(one)
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [one["type"] for one in found]


def resume(interrupt: str, *, approved: bool = True, status: str = "resolved") -> dict[str, Any]:
    payload = {"payload": {"approved": approved}} if status == "resolved" else {}
    return {"resume": [{"interruptId": interrupt, "status": status, **payload}]}


CALL = ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END"]


async def test_an_interrupt_ends_the_run_of_ag_ui_and_a_resume_goes_on_elsewhere(
    doors: Cluster, chat_id: str
) -> None:
    async with doors.client(1) as one, doors.client(2) as two:
        first = body(chat_id)
        asked = await run(one, first)
        assert kinds(asked) == ["RUN_STARTED", "CUSTOM", *CALL, "RUN_FINISHED"]
        (interrupt,) = asked[-1]["outcome"]["interrupts"]
        assert (interrupt["reason"], interrupt["toolCallId"]) == ("tool_call", asked[2]["toolCallId"])
        assert (await two.chat_info(chat_id))["run"]["asked"][0]["tool_use_id"] == interrupt["id"]
        attached = await two.http.get(f"/api/v1/chat/{chat_id}/events", params={"format": "ag-ui"})
        assert events(attached.text) == asked
        second = body(chat_id, **resume(interrupt["id"]))
        rest = await run(two, second)
        assert kinds(rest)[:2] == ["RUN_STARTED", "TOOL_CALL_RESULT"]
        assert {rest[0]["runId"], rest[-1]["runId"]} == {second["runId"]}
        assert rest[1]["content"] == "42"
        assert "".join(one["delta"] for one in rest if "delta" in one) == "it is 42"
        assert rest[-1]["outcome"] == {"type": "success"}
        assert await run(one, second) == rest, "a repeated resume is the same one"
        refused = await one.http.post(
            "/api/v1/ag-ui/careful", json=body(chat_id, **resume(interrupt["id"], approved=False))
        )
        assert refused.status_code == 409
        later = await two.http.get(f"/api/v1/chat/{chat_id}/events", params={"format": "ag-ui"})
        assert kinds(events(later.text))[1:] == ["CUSTOM", *CALL, *kinds(rest)[1:]]


@pytest.mark.parametrize("how", [{"approved": False}, {"status": "cancelled"}])
async def test_a_resume_can_refuse(doors: Cluster, chat_id: str, how: dict[str, Any]) -> None:
    async with doors.client(1) as one:
        interrupt = (await run(one, body(chat_id)))[-1]["outcome"]["interrupts"][0]
        rest = await run(one, body(chat_id, **resume(interrupt["id"], **how)))
        assert "refused" in rest[1]["content"]
        assert rest[-1]["outcome"] == {"type": "success"}


@pytest.mark.parametrize("backend", [1, 2])
async def test_hanging_up_on_a_resumed_run_stops_it(
    doors: Cluster, ollama: FakeOllama, chat_id: str, backend: int
) -> None:
    ollama.default = Reply(tool=SUM, tokens=["it is ", "42"], fault="stall", fault_after=1)
    async with doors.client(1) as one:
        interrupt = (await run(one, body(chat_id)))[-1]["outcome"]["interrupts"][0]
        async with doors.client(backend) as client:
            asked = body(chat_id, **resume(interrupt["id"]))
            async with client.http.stream("POST", "/api/v1/ag-ui/careful", json=asked) as response:
                async for piece in response.aiter_raw():
                    if b"it is" in piece:
                        break
        kept = await eventually(lambda: reply(one, chat_id))
        assert (kept["outcome"], kept["content"]) == ("stopped", "it is ")
        await eventually(lambda: ollama.open_streams == 0)


async def reply(client: Client, chat_id: str) -> dict[str, Any] | None:
    last = (await client.messages(chat_id))[-1]
    return last if last["role"] == "assistant" else None


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "go"}]}),
        ("/v1/responses", {"input": "go"}),
    ],
)
async def test_openais_clients_read_that_a_person_is_asked_and_where_to_answer(
    doors: Cluster, path: str, asked: dict[str, Any]
) -> None:
    told = ""
    async with doors.client(1) as one, doors.client(2) as two:
        request = {"model": "careful", "stream": True, **asked}
        async with one.http.stream("POST", path, json=request) as response:
            chat_id, pieces = response.headers["X-Chat-Id"], response.aiter_text()
            while "waits for approval" not in told:
                told += await anext(pieces)
            (waiting,) = (await two.chat_info(chat_id))["run"]["asked"]
            address = f"{BASE}/api/v1/chat/{chat_id}/approve"
            assert f"POST {address} " in told, "the address as it is from outside"
            assert waiting["tool_use_id"] in told
            answer = {"tool_use_id": waiting["tool_use_id"], "approve": True}
            assert (await two.http.post(address, json=answer)).status_code == 200
            async for piece in pieces:
                told += piece
    assert "calculate(6*7) = 42" in told
    assert "it is " in told


async def test_a_whole_reply_waits_for_the_person(doors: Cluster, chat_id: str) -> None:
    async with doors.client(1) as one, doors.client(2) as two:
        asked = {"message": "go", "agent": "careful", "conversation_id": chat_id}
        request = asyncio.create_task(one.http.post("/chat", json=asked))
        (waiting,) = await eventually(lambda: asked_in(two, chat_id))
        answer = {"tool_use_id": waiting["tool_use_id"], "approve": True}
        assert (await two.http.post(f"/api/v1/chat/{chat_id}/approve", json=answer)).status_code == 200
        assert (await request).json()["reply"] == "it is 42"


async def asked_in(client: Client, chat_id: str) -> list[dict[str, Any]]:
    live = (await client.chat_info(chat_id))["run"]
    return list(live.get("asked", [])) if live else []


@pytest.mark.parametrize(
    ("second", "status"),
    [
        ({"status": "resolved", "payload": {"approved": "yes"}}, 422),
        ({"status": "resolved", "payload": {"approved": True, "for": "ever"}}, 422),
        ({"interruptId": "tooluse_of_nobody", "status": "resolved", "payload": {"approved": True}}, 404),
        ({"interruptId": ":attempt", "status": "cancelled"}, 404),
    ],
)
async def test_of_answers_some_of_which_are_wrong_none_counts(
    doors: Cluster, chat_id: str, second: dict[str, Any], status: int
) -> None:
    async with doors.client() as one:
        (*_, last) = await run(one, body(chat_id))
        (interrupt,) = last["outcome"]["interrupts"]
        entries = [*resume(interrupt["id"])["resume"], {"interruptId": interrupt["id"], **second}]
        asked = body(chat_id, resume=entries)
        answer = await one.http.post("/api/v1/ag-ui/careful", json=asked)
        assert answer.status_code == status
        too_many = await one.http.post("/api/v1/ag-ui/careful", json=body(chat_id, resume=entries[:1] * 33))
        assert too_many.status_code == 422
        waiting = (await one.chat_info(chat_id))["run"]["asked"]
        assert [call["tool_use_id"] for call in waiting] == [interrupt["id"]]
        await one.stop(chat_id, wait=5000)
