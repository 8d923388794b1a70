"""A file that was sent and that no message names can be taken out again; one that is named stays."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT
from tests.world.pictures import png
from tests.world.redis_server import connect
from tests.world.uploads import got, sent


async def removed(client: Client, chat_id: str, file_id: str) -> httpx.Response:
    return await client.http.delete(f"/api/v1/chat/{chat_id}/files/{file_id}")


async def held(cluster: Cluster, chat_id: str) -> tuple[set[str], list[int]]:
    """The fields of the files of a chat, and what they weigh: in the chat, and in the sum of its owner."""
    async with connect(cluster.redis_url) as redis:
        fields: dict[str, str] = await redis.hgetall(f"chat:{{{chat_id}}}:files")  # type: ignore[assignment]
        weight = str(await redis.hget("files", chat_id) or "0")
    return {*fields} - {":count", ":bytes"}, [
        int(fields.get(":bytes", 0)),
        int(weight.split(" ", maxsplit=1)[0]),
    ]


async def test_a_file_that_no_message_names_goes_with_its_bytes(
    cluster: Cluster, client: Client, chat_id: str
) -> None:
    body = png(weight=200_000)
    kept = await sent(client, chat_id, b"a note\n", "text/plain")
    gone = await sent(client, chat_id, body, "image/png")
    answer = await removed(client, chat_id, gone["file_id"])
    assert (answer.status_code, answer.json()) == (
        200,
        {"chat_id": chat_id, "file_id": gone["file_id"], "status": "deleted"},
    )
    assert (await got(client, chat_id, gone["file_id"])).status_code == 404
    assert (await removed(client, chat_id, gone["file_id"])).status_code == 404
    assert await held(cluster, chat_id) == ({kept["file_id"], f"{kept['file_id']}:0"}, [4096, 4096])
    assert (await removed(client, chat_id, kept["file_id"])).status_code == 200
    assert await held(cluster, chat_id) == (set(), [0, 0])
    assert (await client.http.delete(f"/api/v1/chat/{chat_id}")).status_code == 404
    again = await sent(client, chat_id, body, "image/png")
    assert again == gone
    assert (await got(client, chat_id, again["file_id"])).content == body


async def test_a_file_that_is_named_anywhere_in_the_chat_stays(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ids = [(await sent(client, chat_id, png(n + 1)))["file_id"] for n in range(4)]
    old, new, unsent, queued = ids
    first = await client.ask(chat_id, "look", files=[old])
    await client.ask(chat_id, "look here", replaces=first.run_id, files=[new])  # the old one is a version's

    async def wait(file_id: str, run_id: str) -> None:
        asked = {"message": "later", "files": [file_id], "on_busy": "queue", "run_id": run_id}
        assert (await client.http.post(f"/api/v1/chat/{chat_id}", json=asked)).status_code == 202

    ollama.default = HELD
    async with client.chat(chat_id, "hold") as stream:
        await stream.until_text(HELD_TEXT)
        await wait(unsent, "waits-first")
        await wait(queued, "waits-second")
        assert (await client.stop(chat_id, run_id="waits-first"))["unsent"]
        for file_id in ids:
            answer = await removed(client, chat_id, file_id)
            assert (answer.status_code, answer.json()["code"]) == (409, "file_used"), ids.index(file_id)
            assert file_id not in answer.json()["detail"]
            assert (await got(client, chat_id, file_id)).status_code == 200
        await client.stop(chat_id, wait=5000)
        await stream.rest()
    assert (await removed(client, chat_id, old)).status_code == 409


@pytest.mark.parametrize("file_id", ["x", "A" * 64, "0" * 63])
async def test_an_id_that_is_none_is_refused(client: Client, chat_id: str, file_id: str) -> None:
    assert (await removed(client, chat_id, file_id)).status_code == 422


async def test_whoever_comes_first_has_the_file(
    cluster: Cluster, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    """A message and a removal at once: none is stored that names a file which is not there."""

    async def raced(n: int) -> tuple[int, int]:
        chat_id = new_chat()
        async with cluster.client(n % 3 + 1) as one, cluster.client((n + 1) % 3 + 1) as two:
            file_id = (await sent(one, chat_id, png(n + 1)))["file_id"]
            asked = {"message": "look", "files": [file_id]}
            told, answer = await asyncio.gather(
                one.http.post(f"/api/v1/chat/{chat_id}", json=asked), removed(two, chat_id, file_id)
            )
            there = (await got(one, chat_id, file_id)).status_code == 200
            named = any(m.get("files") for m in await one.messages(chat_id))
            assert (there, named) == ((True, True) if told.status_code == 200 else (False, False))
            assert (told.status_code, answer.status_code) in {(200, 409), (404, 200)}
            return told.status_code, answer.status_code

    assert await asyncio.gather(*(raced(n) for n in range(12)))
