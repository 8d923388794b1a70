"""Pictures at OpenAI's addresses."""

import base64
import uuid
from typing import Any

import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.pictures import jpeg, png
from tests.world.redis_server import connect
from tests.world.uploads import got, pictures_in


def url_of(body: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


def part(body: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url_of(body), "detail": "auto"}}


async def test_pictures_of_a_conversation_reach_the_model(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    one, two = png(3, 3), jpeg(4, 4)
    messages = [
        {"role": "user", "content": [part(one), {"type": "text", "text": "first"}]},
        {"role": "assistant", "content": "a door"},
        {"role": "user", "content": [{"type": "text", "text": "second one?"}, part(two)]},
    ]
    body = {"model": "general", "messages": messages}
    for headers in ({}, {"X-Chat-Id": chat_id}, {"X-Chat-Id": chat_id}):
        answer = await client.http.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        exchange = ollama.of("second one?")[-1]
        assert pictures_in("ollama", exchange.body) == [
            ("user", [one], "first"),
            ("assistant", [], "a door"),
            ("user", [two], "second one?"),
        ]
        if not headers:
            async with connect(cluster.redis_url) as redis:
                assert not await redis.exists(f"chat:{{{answer.headers['X-Chat-Id']}}}:files")
    kept = await client.messages(chat_id)
    assert [one.get("files", [{}])[0].get("media_type") for one in kept] == [
        "image/png",
        None,
        "image/jpeg",
        None,
    ]
    assert (await got(client, chat_id, kept[2]["files"][0]["file_id"])).content == two


async def test_a_picture_alone_and_one_of_a_response(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    only = {"model": "general", "messages": [{"role": "user", "content": [part(png(5, 5))]}]}
    assert (await client.http.post("/v1/chat/completions", json=only)).status_code == 200
    assert pictures_in("ollama", ollama.exchanges[-1].body) == [("user", [png(5, 5)], "[picture]")]
    content = [
        {"type": "input_text", "text": "see this"},
        {"type": "input_image", "image_url": url_of(png(6, 6))},
    ]
    asked = {"model": "general", "input": [{"role": "user", "content": content}]}
    answer = await client.http.post("/v1/responses", json=asked)
    assert answer.status_code == 200, answer.text
    more = {"model": "general", "input": "and now?", "previous_response_id": answer.json()["id"]}
    assert (await client.http.post("/v1/responses", json=more)).status_code == 200
    assert pictures_in("ollama", ollama.of("and now?")[-1].body)[0] == ("user", [png(6, 6)], "see this")


def at_ag_ui(chat_id: str, *parts: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "text", "text": "see"}, *parts]
    messages = [{"id": "1", "role": "user", "content": content}]
    return {"threadId": chat_id, "runId": uuid.uuid4().hex, "messages": messages}


def image(kind: str, value: str, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "source": {"type": kind, "value": value, "mimeType": media_type}}


async def test_pictures_of_an_ag_ui_thread_reach_the_model(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    one, two = png(3, 3), jpeg(4, 4)
    asked = at_ag_ui(
        chat_id,
        image("data", base64.b64encode(one).decode()),
        image("url", url_of(two, "image/jpeg"), "image/jpeg"),
    )
    for _ in range(2):  # the second attaches
        answer = await client.http.post("/api/v1/ag-ui/general", json=asked)
        assert answer.status_code == 200, answer.text
    (exchange,) = ollama.of("see")
    assert pictures_in("ollama", exchange.body) == [("user", [one, two], "see")]
    (kept, _) = await client.messages(chat_id)
    assert [file["media_type"] for file in kept["files"]] == ["image/png", "image/jpeg"]
    after = {"id": "3", "role": "user", "content": "and now?"}
    more = {**asked, "runId": uuid.uuid4().hex}
    more["messages"] = [*asked["messages"], {"id": "2", "role": "assistant", "content": "a door"}, after]
    assert (await client.http.post("/api/v1/ag-ui/general", json=more)).status_code == 200
    assert pictures_in("ollama", ollama.of("and now?")[-1].body)[0] == ("user", [one, two], "see")


async def test_what_a_picture_is_its_bytes_say(client: Client, ollama: FakeOllama) -> None:
    body = {"model": "general", "messages": [{"role": "user", "content": [part(png(5, 5))]}]}
    body["messages"][0]["content"][0]["image_url"]["url"] = url_of(png(5, 5), "image/webp")  # type: ignore[index]
    assert (await client.http.post("/v1/chat/completions", json=body)).status_code == 200
    assert pictures_in("ollama", ollama.exchanges[-1].body)[0][1] == [png(5, 5)]


BAD_PARTS = [
    (image("url", "https://example.com/a.png"), 400),
    (image("file", "file-abc"), 400),
    (image("data", "***"), 422),
    (image("data", base64.b64encode(b"<svg/>").decode(), "image/svg+xml"), 422),
    ({"type": "audio", "source": {"type": "data", "value": "AAAA", "mimeType": "audio/wav"}}, 400),
    ({"type": "binary", "mimeType": "image/png", "data": "AAAA"}, 422),
    (image("data", base64.b64encode(png(weight=300 * 1024)).decode()), 413),
]


@pytest.mark.parametrize("case", BAD_PARTS, ids=lambda case: str(case[0])[:60])
async def test_parts_that_are_no_pictures_are_refused_at_ag_ui(
    client: Client, chat_id: str, ollama: FakeOllama, case: tuple[dict[str, Any], int]
) -> None:
    answer = await client.http.post("/api/v1/ag-ui/general", json=at_ag_ui(chat_id, case[0]))
    assert (answer.status_code, bool(answer.json()["detail"])) == (case[1], True), answer.text
    assert not ollama.exchanges
    assert (await client.chat_info(chat_id))["status"] == "new"


BAD_URLS = [
    ("https://example.com/a.png", 400),
    ("http://127.0.0.1/a.png", 400),
    ("file:///etc/passwd", 400),
    ("data:image/png,abc", 400),
    ("data:image/png;base64,***", 422),
    (url_of(b"<svg/>", "image/svg+xml"), 422),
    (url_of(b"hello", "text/plain"), 422),
    (url_of(png(9000, 9000)), 422),
    (url_of(png(weight=1024 * 1024)), 413),
    (None, 400),
]


@pytest.mark.parametrize("case", BAD_URLS, ids=lambda case: str(case[0])[:24])
async def test_urls_that_are_no_pictures_are_refused(
    client: Client, ollama: FakeOllama, case: tuple[Any, int]
) -> None:
    url, status = case
    content = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "general", "messages": [{"role": "user", "content": content}]}
    answer = await client.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    content[1] = {"type": "input_image", "image_url": url}
    asked = {"model": "general", "input": [{"role": "user", "content": content}]}
    assert (await client.http.post("/v1/responses", json=asked)).status_code == status
    assert not ollama.exchanges
