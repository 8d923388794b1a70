"""At every door: a model that is silent for long, a backend that is killed, and what is refused.

Other people's clients get an error that they know, and none of them asks a model twice by itself.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.test_ops_nginx import Front, client_of, program_of
from tests.world import sdks
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.doors import DOORS, asked, run_of
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Reply
from tests.world.invariants import assert_invariants
from tests.world.rough import Rough
from tests.world.waiting import eventually

SILENCE, PATIENCE = 40, 25  # seconds: two heartbeats, and a client that would not wait for the model
STREAMS = [name for name, door in DOORS.items() if door.streams]
HEARTBEATS = {
    "native, text": b": waiting\n", "native, json": b": waiting\n", "ag-ui": b": waiting\n",
    "responses, streamed": b": waiting\n", "completions, streamed": b'"delta": {}, "finish_reason": null',
}  # fmt: skip
VERSIONS = ["openai 2", "openai 3"]
JAVASCRIPT = ["chunks", "response", "ai", "agent", "parser", "eventSource"]


@pytest.mark.timeout(500)
async def test_a_silence_of_forty_seconds_ends_no_stream(
    cluster: Cluster, ollama: FakeOllama, new_chat: Callable[[], str]
) -> None:
    officials = [(sdks.python(version), "patient.py") for version in VERSIONS]
    ollama.on("silent", Reply(first_delay=SILENCE, tokens=3))
    javascript = (sdks.node(), "patient.mjs")
    async with asyncio.TaskGroup() as clients:
        for name in DOORS:
            clients.create_task(_waits(cluster, name, new_chat()), name=name)
        for program in officials:
            clients.create_task(_official_waits(cluster, program, ["chunks", "response"]))
        clients.create_task(_official_waits(cluster, javascript, JAVASCRIPT))
    marks = ["silent chunks.", "silent response.", *(f"silent {name}." for name in DOORS)]
    marks += [f"silent {name} in js." for name in JAVASCRIPT]
    asked_for = {mark: len(ollama.of(mark)) for mark in marks}
    assert asked_for == dict.fromkeys(marks, 1) | dict.fromkeys(marks[:2], 2), "asked again"


async def _waits(cluster: Cluster, name: str, chat_id: str) -> None:
    async with cluster.client() as client:
        if name in HEARTBEATS:
            client.http.timeout = httpx.Timeout(PATIENCE)
        else:  # plain text and whole answers have no room for a sign of life: who asks there must wait
            client.http.timeout = httpx.Timeout(SILENCE * 3)
        async with asked(client, name, chat_id, f"silent {name}.") as run:
            told = await run.rest()
            assert told in ("done", "stopped", "begun"), (name, told)  # of which some doors tell one word
            if name in HEARTBEATS:
                assert run.raw.count(HEARTBEATS[name]) >= 2, (name, run.raw)
            if name == "older, streamed":
                assert run.raw == HELD_TEXT.encode(), "not a byte that the model did not say"
            elif told != "begun":
                assert b"word2" in run.raw, name


async def _official_waits(cluster: Cluster, program: tuple[list[str], str], names: list[str]) -> None:
    seen = await sdks.told(*program, cluster.url, str(PATIENCE), within=200)
    assert seen == dict.fromkeys(names, HELD_TEXT), program


@pytest.mark.timeout(400)
async def test_the_clients_of_a_killed_backend_are_told_and_ask_nobody_twice(rough: Rough) -> None:
    ollama, url = rough.ollama, rough.cluster.url
    ollama.on("killed ", HELD)
    reply = ollama.default.text
    programs = [(sdks.python(version), "killed.py") for version in VERSIONS] + [(sdks.node(), "killed.mjs")]
    telling = [asyncio.create_task(sdks.told(*program, url, within=300)) for program in programs]
    names = dict.fromkeys(("chunks", "whole", "response"), 2) | dict.fromkeys(("js", "ai", "agent"), 1)

    def all_speak() -> bool:
        assert not any(task.done() for task in telling), [task.result() for task in telling if task.done()]
        return sum(one.tokens_sent == 3 for one in ollama.of("killed ")) == sum(names.values())

    await eventually(all_speak, within=120)
    await asyncio.gather(*(rough.cluster.kill(n) for n in rough.cluster.numbers))
    await asyncio.gather(*(rough.cluster.start_again(n) for n in rough.cluster.numbers))
    *pythons, javascript = await asyncio.gather(*telling)
    for seen in pythons:
        assert seen["resumed"] == ["response.failed", "backend_lost"]
        assert seen["whole"][:2] == ["InternalServerError", 502], "Nginx says so, in the door's words"
        for name in ("chunks", "response"):
            assert seen[name][0] != "no error"
    for name in ("js", "ai", "agent"):
        assert javascript[name][0] == "error"
    for seen in (*pythons, javascript):
        assert {seen[name][2] for name in names if name in seen} == {reply}
    for name, times in names.items():
        assert len(ollama.of(f"killed {name}.")) == len(ollama.of(f"again {name}.")) == times, name
    async with rough.cluster.client() as client:
        kept = await client.messages(javascript["thread"])
        assert [message["content"] for message in kept] == ["again agent.", reply]
    await assert_invariants(rough.cluster, models=[ollama])


@pytest.mark.timeout(300)
async def test_a_stream_at_each_door_of_a_killed_backend_is_read_to_its_failed_end_elsewhere(
    rough: Rough, new_chat: Callable[[], str]
) -> None:
    rough.ollama.on("killed", HELD)
    chats = {name: new_chat() for name in STREAMS}
    async with rough.cluster.client(1) as one, rough.cluster.client(2) as two:
        async with asyncio.TaskGroup() as readers:
            begun = {name: readers.create_task(_cut(one, name, chat_id)) for name, chat_id in chats.items()}
            runs = {name: await run_of(two, chat_id) for name, chat_id in chats.items()}
            await eventually(lambda: sum(x.tokens_sent == 3 for x in rough.ollama.exchanges) == len(chats))
            for run_id in runs.values():
                await eventually(partial(_said, two, run_id), within=30)
            await rough.cluster.kill(1)
        for name, chat_id in chats.items():
            assert begun[name].result() == "cut", name
            await _failed_everywhere(two, chat_id, runs[name])
            before = [(m["content"], m.get("outcome")) for m in await two.messages(chat_id)]
            assert before == [(f"killed {name}.", None), (HELD_TEXT, "failed")]
            async with asked(two, name, chat_id, f"again {name}.") as again:
                await again.rest()
            texts = [message["content"] for message in await two.messages(chat_id)]
            assert texts[-2:] == [f"again {name}.", Reply().text]
            assert len(rough.ollama.of(f"again {name}.")) == len(rough.ollama.of(f"killed {name}.")) == 1
    await rough.cluster.start_again(1)
    await assert_invariants(rough.cluster, models=[rough.ollama])


async def _cut(client: Client, name: str, chat_id: str) -> str:
    async with asked(client, name, chat_id, f"killed {name}.") as run:
        return await run.rest()


async def _said(client: Client, run_id: str) -> bool:
    return HELD_TEXT in (await client.http.get(f"/v1/responses/resp_{run_id}")).text


async def _failed_everywhere(client: Client, chat_id: str, run_id: str) -> None:
    """Whoever reads it now is told in the words of his protocol."""
    url = f"/api/v1/chat/{chat_id}/events"
    for form, last in (("text", "data: [ERROR] "), ("json", '"backend_lost"'), ("ag-ui", '"RUN_ERROR"')):
        assert last in (await client.http.get(url, params={"format": form})).text
    response = await client.http.get(f"/v1/responses/resp_{run_id}", params={"stream": "true"})
    assert "event: response.failed" in response.text
    assert "backend_lost" in response.text


async def test_who_meets_a_busy_conversation_is_told_once(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", HELD)
    async with client.chat(chat_id, "first") as stream:
        await stream.until_text(HELD_TEXT)
        before = _refused(cluster)
        for version in VERSIONS:
            seen = await sdks.told(sdks.python(version), "refused.py", cluster.url, chat_id, within=100)
            assert seen == ["chat_busy", stream.run_id]
        await eventually(lambda: _refused(cluster) - before >= len(VERSIONS))
        assert _refused(cluster) - before == len(VERSIONS), "the client asked again by itself"
        await client.stop(chat_id, wait=5000)
    assert not ollama.of("second")
    assert [message["content"] for message in await client.messages(chat_id)] == ["first", HELD_TEXT]


def _refused(cluster: Cluster) -> int:
    """How often Nginx passed a 409 of this door on."""
    lines = cluster.nginx.output.splitlines()
    return sum('"POST /v1/responses"' in line and '"status":409' in line for line in lines)


def test_what_nginx_refuses_under_v1_is_read_by_its_clients(tmp_path: Path) -> None:
    with closing(Front(tmp_path, program_of("machine"))) as front, client_of(front) as client:
        url = "/v1/chat/completions"
        found = [client.post(url, content=b"x" * (4 * 1024 * 1024 + 1))]
        for backend in front.backends:
            backend.hang_up = True
        found.append(client.post(url))
        answers = (client.post(url) for _ in range(10_000))
        found.append(next(answer for answer in answers if answer.status_code == 429))
    assert [answer.status_code for answer in found] == [413, 502, 429]
    for answer, code in zip(found, ("too_large", "overloaded", "rate_limited"), strict=True):
        told = answer.json()
        assert answer.headers["Content-Type"] == "application/json"
        assert (told["code"], told["error"]["code"]) == (code, code)
        assert told["error"]["message"] == told["detail"]
        assert ("Retry-After" in answer.headers) == (answer.status_code != 413)
        assert ("X-Should-Retry" in answer.headers) == (answer.status_code == 502), "the model may be at work"
