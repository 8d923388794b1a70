"""Files of a chat: sent, named by messages, got back, living and dying with it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT
from tests.world.pictures import png
from tests.world.redis_server import connect
from tests.world.uploads import got, pictures_in, put, sent
from tests.world.waiting import eventually


async def test_a_file_comes_back_as_an_attachment_that_can_run_nothing(
    cluster: Cluster, client: Client, chat_id: str
) -> None:
    body = png(weight=200_000)
    for content, kind, name in (
        (body, "image/png", '../a/ü "x".png'),
        (b"<script>\n", "text/html", "a%0d%0ab.html"),
    ):
        told = await sent(client, chat_id, content, kind, name)
        assert "/" not in told["name"]
        answer = await got(client, chat_id, told["file_id"])
        assert answer.status_code == 200
        assert answer.content == content
        assert answer.headers["Content-Type"].startswith(("image/png", "text/plain; charset=utf-8"))
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert "no-store" in answer.headers["Cache-Control"]
        assert answer.headers["Content-Length"] == str(len(content))
        head = await client.http.head(f"/api/v1/chat/{chat_id}/files/{told['file_id']}")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == str(len(content))


REFUSED = [
    (b"", "image/png", 422, "empty"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", 422, "SVG"),
    (b"<html>", "image/png", 422, "neither"),
    (png()[:-5], "image/png", 422, "torn"),
    (png(20_000, 20_000), "image/png", 422, "pixels"),
    (b"PK\x03\x04\0\0", "application/zip", 422, "neither"),
    (b"x" * 102_401, "text/plain", 413, "100 KB"),
    (png(weight=1024 * 1024), "image/png", 413, "1024 K"),
    (b"x" * 5_000_000, "image/png", 413, "1024 K"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[1]} {case[3]}")
async def test_what_is_refused_is_told_clearly_and_leaves_nothing(
    cluster: Cluster, client: Client, chat_id: str, case: tuple[bytes, str, int, str]
) -> None:
    body, kind, status, word = case
    answer = await put(client, chat_id, body, kind)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (status, {422: "invalid", 413: "too_large"}[status])
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert word in told["detail"]
    assert status != 422 or told["errors"][0]["loc"] == ["body"]
    async with connect(cluster.redis_url) as redis:
        assert not await redis.exists(f"chat:{{{chat_id}}}:files")


async def test_a_stream_that_grows_too_large_is_refused_before_its_end(
    cluster: Cluster, chat_id: str
) -> None:
    sent_pieces = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent_pieces
        for _ in range(100_000):
            sent_pieces += 1
            yield b"x" * 65_536
            await asyncio.sleep(0)

    async with cluster.client(1) as client:
        try:
            answer = await client.http.post(f"/api/v1/chat/{chat_id}/files", content=pieces())
            assert answer.status_code == 413
        except httpx.HTTPError:  # it has hung up in the middle of what was sent
            pass
    assert sent_pieces < 1000


async def test_files_of_other_chats_and_odd_ids_are_refused_and_nothing_is_stored(
    client: Client, new_chat: Any
) -> None:
    chat_id, other = new_chat(), new_chat()
    mine = (await sent(client, chat_id, png()))["file_id"]
    theirs = (await sent(client, other, png(9, 9)))["file_id"]
    many = [(await sent(client, chat_id, png(10 + n)))["file_id"] for n in range(5)]
    for files, status in (
        ([theirs], 404), ([mine, theirs], 404), (["0" * 64], 404), (["nonsense"], 422),
        ([mine, mine], 422), (many, 422), ([mine.upper()], 422), ("x", 422),
    ):  # fmt: skip
        for on_busy in ("reject", "queue", "replace"):
            body = {"message": "look", "files": files, "on_busy": on_busy}
            answer = await client.http.post(f"/api/v1/chat/{chat_id}", json=body)
            assert answer.status_code == status, (files, answer.text)
    assert (await client.chat_info(chat_id))["status"] == "new"
    assert (await got(client, chat_id, theirs)).status_code == 404
    assert (await got(client, chat_id, "../" + mine)).status_code == 404
    assert (await got(client, chat_id, "zz")).status_code == 422


async def test_the_same_bytes_are_one_file_under_its_newest_name(
    cluster: Cluster, client: Client, chat_id: str
) -> None:
    answers = await asyncio.gather(*(sent(client, chat_id, png(), name=f"{n}.png") for n in range(8)))
    assert len({one["file_id"] for one in answers}) == 1
    await sent(client, chat_id, png(), name="newest.png")
    await client.ask(chat_id, "look", files=[answers[0]["file_id"]])
    assert [one["name"] for one in (await client.messages(chat_id))[0]["files"]] == ["newest.png"]
    async with connect(cluster.redis_url) as redis:
        assert await redis.hget(f"chat:{{{chat_id}}}:files", ":count") == "1"


async def test_the_same_run_with_other_files_is_another_message(client: Client, chat_id: str) -> None:
    one, two = [(await sent(client, chat_id, png(n)))["file_id"] for n in (1, 2)]
    stream = await client.ask(chat_id, "look", files=[one])
    again = {"message": "look", "run_id": stream.run_id}
    same = await client.ask(chat_id, "look", files=[one], run_id=stream.run_id)
    assert same.text == stream.text
    for files in ([two], [one, two], []):
        answer = await client.http.post(f"/api/v1/chat/{chat_id}", json={**again, "files": files})
        assert (answer.status_code, answer.json()["code"]) == (409, "run_id_used")
    assert len(await client.messages(chat_id)) == 2


async def test_a_message_that_waits_keeps_its_files(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ids = [(await sent(client, chat_id, png(n, 5), name=f"{n}.png"))["file_id"] for n in (1, 2, 3)]
    ollama.script.append(HELD)
    async with client.chat(chat_id, "first") as stream:
        await stream.until_text(HELD_TEXT)
        for n in range(3):
            body = {"message": f"look {n}", "files": [ids[n]], "on_busy": "queue", "run_id": f"waiting-{n}"}
            for _ in range(2):  # the same one twice is one
                assert (await client.http.post(f"/api/v1/chat/{chat_id}", json=body)).status_code == 202
        other = {**body, "files": [ids[0]]}
        assert (await client.http.post(f"/api/v1/chat/{chat_id}", json=other)).status_code == 409
        queued = (await client.chat_info(chat_id))["queued"]
        assert [[one["file_id"] for one in entry["files"]] for entry in queued] == [[one] for one in ids]
        taken = await client.http.delete(f"/api/v1/chat/{chat_id}/queue/waiting-1")
        assert taken.json()["files"][0]["name"] == "2.png"
        await client.stop(chat_id, wait=5000, run_id=stream.run_id)
        await stream.rest()
    await asyncio.gather(*(client.replay(chat_id) for _ in range(2)))
    messages = await settled(client, chat_id, 6)
    assert [m["files"][0]["file_id"] for m in messages if m.get("files")] == [ids[0], ids[2]]
    for n in (0, 2):
        (exchange,) = ollama.of(f"look {n}")
        assert pictures_in("ollama", exchange.body)[-1] == ("user", [png(n + 1, 5)], f"look {n}")


async def settled(client: Client, chat_id: str, count: int) -> list[dict[str, Any]]:
    async def at_rest() -> bool:
        info = await client.chat_info(chat_id)
        return info["message_count"] == count and info["run"] is None

    await eventually(at_rest, within=20)
    return await client.messages(chat_id)


async def test_a_stop_hands_back_what_waits_with_its_files(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    files = [await sent(client, chat_id, png()), await sent(client, chat_id, b"hello", "text/plain")]
    ollama.script.append(HELD)
    async with client.chat(chat_id, "first") as stream:
        await stream.until_text(HELD_TEXT)
        body = {"message": "look", "files": [one["file_id"] for one in files], "on_busy": "queue"}
        url = f"/api/v1/chat/{chat_id}"
        waiting = [(await client.http.post(url, json=body)).json()["run_id"] for _ in range(2)]
        assert (await client.http.delete(f"{url}/queue/{waiting[1]}")).json()["files"] == files
        (back,) = (await client.stop(chat_id, wait=5000))["unsent"]
    assert back == {"run_id": waiting[0], "message": "look", "files": files}


async def test_versions_keep_the_files_they_name(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    one, two = [await sent(client, chat_id, png(n)) for n in (1, 2)]
    stream = await client.ask(chat_id, "look", files=[one["file_id"]])
    await client.ask(chat_id, "look again", files=[two["file_id"]], replaces=stream.run_id)
    (question, _) = await client.messages(chat_id)
    assert question["files"] == [two]
    (version,) = question["versions"]
    assert version["messages"][0]["files"] == [one]
    url = f"/api/v1/chat/{chat_id}/versions"
    assert (await client.http.post(url, json={"version": version["version"]})).status_code == 200
    assert (await client.messages(chat_id))[0]["files"] == [one]
    await client.ask(chat_id, "more")
    (exchange,) = ollama.of("more")
    assert pictures_in("ollama", exchange.body)[0] == ("user", [png(1)], "look")


async def test_a_fork_has_files_of_its_own(cluster: Cluster, client: Client, new_chat: Any) -> None:
    chat_id, branch = new_chat(), new_chat()
    ids = [(await sent(client, chat_id, png(n, weight=70_000 * n)))["file_id"] for n in (1, 2)]
    stream = await client.ask(chat_id, "look", files=ids[:1])
    await client.ask(chat_id, "later", files=ids[1:])
    for _ in range(2):  # the same fork twice is one
        body = {"run_id": stream.run_id, "chat_id": branch}
        assert (await client.http.post(f"/api/v1/chat/{chat_id}/fork", json=body)).status_code == 201
    assert (await got(client, branch, ids[0])).content == png(1, weight=70_000)
    assert (await got(client, branch, ids[1])).status_code == 404
    await client.http.delete(f"/api/v1/chat/{chat_id}")
    assert (await got(client, chat_id, ids[0])).status_code == 404
    assert (await got(client, branch, ids[0])).content == png(1, weight=70_000)
    taken = {"run_id": stream.run_id, "chat_id": branch}
    assert (await client.http.post(f"/api/v1/chat/{new_chat()}/fork", json=taken)).status_code == 404


async def test_files_live_as_long_as_their_chat(
    cluster: Cluster, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    key, files = f"chat:{{{chat_id}}}", f"chat:{{{chat_id}}}:files"
    async with connect(cluster.redis_url) as redis:
        file = await sent(client, chat_id, png())
        assert 3500 < await redis.ttl(files) <= 3600
        ollama.script.append(HELD)
        async with client.chat(chat_id, "look", files=[file["file_id"]]) as stream:
            await stream.until_text(HELD_TEXT)
            assert await redis.ttl(files) == -1
            await sent(client, chat_id, png(2))
            assert await redis.ttl(files) == -1
            await client.stop(chat_id, wait=5000)
            await stream.rest()
        assert abs(await redis.ttl(files) - await redis.ttl(key)) <= 1
        await client.http.delete(f"/api/v1/chat/{chat_id}")
        assert not await redis.exists(files)
        assert not await redis.hexists("files", chat_id)


async def test_an_export_of_a_chat_names_its_files(client: Client, chat_id: str) -> None:
    file = await sent(client, chat_id, png(), name="a %5Bb%5D(c).png")
    await client.ask(chat_id, "look", files=[file["file_id"]])
    url = f"/api/v1/chat/{chat_id}/export"
    exported = (await client.http.get(f"{url}?format=json")).json()
    assert exported["messages"][0]["files"] == [file]
    markdown = (await client.http.get(url)).text
    assert f"- a \\[b\\](c).png (image/png, {len(png())} bytes)" in markdown
