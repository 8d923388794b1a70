"""OpenAI's responses: background, cancel and resume through any backend, on the same runs and chats."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Failure, Reply, ToolCall
from tests.world.invariants import assert_invariants
from tests.world.sse import Frame, SseParser
from tests.world.waiting import eventually

URL = "/v1/responses"


async def create(client: Client, text: Any, **more: Any) -> dict[str, Any]:
    answer = await client.http.post(URL, json={"model": "general", "input": text, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def events(client: Client, response_id: str, after: int | None = None) -> list[dict[str, Any]]:
    params = {"stream": "true", **({} if after is None else {"starting_after": str(after)})}
    answer = await client.http.get(f"{URL}/{response_id}", params=params)
    assert answer.status_code == 200, answer.text
    return told(SseParser().feed(answer.content))


def told(frames: list[Frame]) -> list[dict[str, Any]]:
    assert all(frame.event == frame.json["type"] and not frame.id for frame in frames)
    return [frame.json for frame in frames]


def text_of(response: dict[str, Any]) -> str:
    items = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in items for part in item["content"])


async def test_events_come_in_the_order_of_the_standard_and_resume_at_each_of_them(
    cluster: Cluster, ollama: FakeOllama
) -> None:
    ollama.default = Reply(
        tokens=["a", "b\n"], thinking=("hm",), tool=ToolCall("calculate", {"expression": "1+1"})
    )
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        body = {"model": "analyst", "input": "hi", "stream": True, "instructions": "Be brief."}
        answer = await one.http.post(URL, json=body)
        whole = told(SseParser().feed(answer.content))
        kinds = [event["type"].removeprefix("response.") for event in whole]
        assert kinds[:5] == [
            "created", "in_progress", "output_item.added", "content_part.added", "reasoning_text.delta",
        ]  # fmt: skip
        assert kinds[-5:] == [
            "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed",
        ]  # fmt: skip
        numbers = [event["sequence_number"] for event in whole]
        assert numbers == sorted(set(numbers))
        response = whole[-1]["response"]
        assert text_of(response) == "ab\n"
        deltas = [event["delta"] for event in whole if event["type"] == "response.output_text.delta"]
        assert "".join(deltas) == "ab\n"
        assert "calculate(1+1) = 2" in str(response["output"])
        assert "function_call" not in answer.text
        for seen, number in enumerate(numbers, 1):
            person = (two, three)[seen % 2]
            assert await events(person, response["id"], number) == whole[seen:]
        for person in (one, two, three):
            assert (await person.get(f"{URL}/{response['id']}")) == response
            assert await events(person, response["id"]) == whole
            assert await events(person, response["id"], numbers[-1] + 1000) == []
    assert ollama.exchanges[-1].body["messages"][0]["content"].endswith("\n\nBe brief.")


async def test_in_the_background_it_goes_on_and_is_cancelled_from_anywhere(
    cluster: Cluster, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    async with cluster.client(1) as one, cluster.client(2) as two, cluster.client(3) as three:
        begun = await create(one, "hi", background=True)
        assert begun["status"] == "in_progress"
        address = f"{URL}/{begun['id']}"

        async def said() -> bool:
            return text_of(await two.get(address)) == HELD_TEXT

        await eventually(said)
        assert (await two.get(address))["status"] == "in_progress"
        runs = (await three.get("/api/v1/runs"))["runs"]
        assert f"resp_{runs[0]['run_id']}" == begun["id"]
        for person in (three, two, one):
            answer = (await person.http.post(f"{address}/cancel")).json()
            assert (answer["status"], text_of(answer)) == ("cancelled", HELD_TEXT)
        assert not ollama.exchanges[-1].is_open
        assert (await events(two, begun["id"]))[-1]["type"] == "response.cancelled"
        messages = await one.messages(runs[0]["chat_id"])
        assert [message["content"] for message in messages] == ["hi", HELD_TEXT]
    await assert_invariants(cluster, models=[ollama])


async def test_a_stop_at_another_door_ends_a_response_as_cancelled(
    cluster: Cluster, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    async with cluster.client(1) as one, cluster.client(2) as two:
        begun = await create(one, "hi", background=True)
        run = next(
            run for run in (await two.get("/api/v1/runs"))["runs"] if begun["id"].endswith(run["run_id"])
        )
        assert (await two.stop(run["chat_id"], wait=5000))["result"] == "stopped"
        assert (await one.get(f"{URL}/{begun['id']}"))["status"] == "cancelled"


async def test_a_previous_response_and_a_conversation_go_on_in_their_chat(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    def seen() -> list[str]:
        return [turn["content"] for turn in ollama.exchanges[-1].body["messages"][1:]]

    reply = ollama.default.text
    first = await create(client, "one")
    second = await create(client, "two", previous_response_id=first["id"])
    assert seen() == ["one", reply, "two"]
    await create(client, "three", previous_response_id=second["id"])
    assert seen() == ["one", reply, "two", reply, "three"]
    await create(client, "another two", previous_response_id=first["id"])
    assert seen() == ["one", reply, "another two"]
    await create(client, "unkept", previous_response_id=second["id"], store=False)
    assert seen() == ["one", reply, "two", reply, "unkept"]
    await create(client, "a", conversation={"id": chat_id})
    await create(client, "b", conversation=chat_id)
    assert seen() == ["a", reply, "b"]
    assert [message["content"] for message in await client.messages(chat_id)] == ["a", reply, "b", reply]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"role": "assistant", "content": "y"},
    ]
    for part in ({"type": "output_text", "text": "y"}, {"type": "refusal", "refusal": "y"}):
        reply_of_theirs = {"role": "assistant", "content": [part]}
        await create(client, [items[0], reply_of_theirs, {"role": "user", "content": "z"}])
        assert seen() == ["x", "y", "z"]
    await create(client, [*items, {"type": "reasoning"}, {"role": "user", "content": "z"}])
    assert seen() == ["x", "y", "z"]


async def test_what_is_not_stored_or_was_deleted_is_gone(client: Client, ollama: FakeOllama) -> None:
    unkept = await create(client, "hi", store=False)
    kept = await client.http.post(URL, json={"model": "general", "input": "hi"})
    address = f"{URL}/{kept.json()['id']}"
    before = (await client.get("/api/v1/chats"))["count"]
    assert (await client.http.delete(address)).json() == {
        "id": kept.json()["id"], "object": "response", "deleted": True,
    }  # fmt: skip
    assert (await client.get("/api/v1/chats"))["count"] == before - 1
    for gone in (address, f"{URL}/{unkept['id']}"):
        for method, url in (("GET", gone), ("DELETE", gone), ("POST", f"{gone}/cancel")):
            answer = await client.http.request(method, url)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_failing_model_and_a_cut_reply_are_told(client: Client, ollama: FakeOllama) -> None:
    ollama.default = Reply(stop_reason="length")
    cut = await create(client, "hi")
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    ollama.default = Reply(refuse=True, failure=Failure(status=500))
    body = {"model": "general", "input": "hi"}
    assert (await client.http.post(URL, json=body)).status_code == 502
    answer = await client.http.post(URL, json={**body, "stream": True})
    last = told(SseParser().feed(answer.content))[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "model_error")


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"model": "nope"}, 404),
        ({"previous_response_id": "resp_12345678"}, 404),
        ({"background": True, "store": False}, 400),
        ({"text": {"format": {"type": "json_schema"}}}, 400),
        ({"conversation": "a b"}, 422),
        ({"input": []}, 422),
        ({"input": " "}, 422),
    ],
)
async def test_what_cannot_be_done_is_refused(
    client: Client, ollama: FakeOllama, more: dict[str, Any], status: int
) -> None:
    answer = await client.http.post(URL, json={"model": "general", "input": "hi", **more})
    assert (answer.status_code, bool(answer.json()["error"]["message"])) == (status, True)
    assert not ollama.exchanges


async def test_leaving_a_response_in_the_foreground_stops_it(
    cluster: Cluster, ollama: FakeOllama, new_chat: Callable[[], str]
) -> None:
    mark = new_chat()
    ollama.on(mark, HELD)
    async with cluster.client() as client:
        body = {"model": "general", "input": mark, "stream": True}
        async with client.http.stream("POST", URL, json=body) as response:
            assert response.status_code == 200
            await eventually(lambda: ollama.of(mark))
    await eventually(lambda: not ollama.of(mark)[0].is_open)
    await assert_invariants(cluster, models=[ollama])
