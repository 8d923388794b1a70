"""Files: sent to a chat, named by messages, handed to models bit by bit, living and dying with the chat."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.conftest import bedrock_env, ollama_env, openai_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.model import FakeModel
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.openai import FakeOpenAI
from tests.world.fakes.reply import HELD, HELD_TEXT, Failure, Reply
from tests.world.pictures import MAKERS, jpeg, png
from tests.world.redis_server import connect
from tests.world.sides import NUMBER, Side
from tests.world.waiting import eventually

TEXT = 'Grüße aus ```der``` Datei\r\nline 2 \\ "quoted" 🙂\n\n'.encode()


async def put(client: Client, chat_id: str, body: bytes, kind: str = "", name: str = "") -> httpx.Response:
    headers = {"Content-Type": kind, **({"X-File-Name": name} if name else {})}
    return await client.http.post(f"/api/v1/chat/{chat_id}/files", content=body, headers=headers)


async def sent(client: Client, chat_id: str, body: bytes, kind: str = "", name: str = "") -> dict[str, Any]:
    answer = await put(client, chat_id, body, kind, name)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def got(client: Client, chat_id: str, file_id: str) -> httpx.Response:
    return await client.http.get(f"/api/v1/chat/{chat_id}/files/{file_id}")


def pictures_in(side: str, body: dict[str, Any]) -> list[tuple[str, list[bytes], str]]:
    """Role, pictures and words of each message that was asked, but the system prompt."""
    found = []
    for message in body["messages"]:
        if message["role"] == "system":
            continue
        content = message["content"]
        if side == "ollama":
            raw, words = message.get("images", []), content
        elif side == "openai":
            parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            raw = [p["image_url"]["url"].partition(",")[2] for p in parts if p["type"] == "image_url"]
            words = "".join(p["text"] for p in parts if p["type"] == "text")
        else:
            raw = [block["image"]["source"]["bytes"] for block in content if "image" in block]
            words = "".join(block["text"] for block in content if "text" in block)
        found.append((message["role"], [base64.b64decode(one) for one in raw], words))
    return found


async def test_pictures_reach_every_model_bit_by_bit_in_one_message_with_their_words(
    side: Side, mixed: Cluster, chat_id: str
) -> None:
    made = [maker(40 + n, 30) for n, maker in enumerate(MAKERS.values())]
    async with mixed.client(NUMBER[side.name]) as client:
        ids = [(await sent(client, chat_id, body))["file_id"] for body in made]
        stream = await client.ask(chat_id, "What do you see?", files=ids)
        assert stream.outcome == "done"
        told = (await client.messages(chat_id))[0]["files"]
        assert [one["file_id"] for one in told] == ids == [hashlib.sha256(body).hexdigest() for body in made]
        assert [(one["media_type"], one["width"], one["height"]) for one in told] == [
            (kind, 40 + n, 30) for n, kind in enumerate(MAKERS)
        ]
    (exchange,) = side.fake.of("What do you see?")
    assert pictures_in(side.name, exchange.body) == [("user", made, "What do you see?")]


async def test_a_text_goes_along_in_front_of_the_words_under_its_name(
    side: Side, mixed: Cluster, chat_id: str
) -> None:
    async with mixed.client(NUMBER[side.name]) as client:
        text = await sent(client, chat_id, TEXT, "text/markdown", "Notizen%20%C3%BC.md")
        assert (text["name"], text["media_type"], text["bytes"]) == (
            "Notizen ü.md",
            "text/markdown",
            len(TEXT),
        )
        picture = await sent(client, chat_id, png())
        await client.ask(chat_id, "Sum it up", files=[text["file_id"], picture["file_id"]])
    (exchange,) = side.fake.of("Sum it up")
    ((_, pictures, words),) = pictures_in(side.name, exchange.body)
    assert pictures == [png()]
    assert words == f"File Notizen ü.md:\n````\n{TEXT.decode()}\n````\n\nSum it up"


async def test_the_newest_four_pictures_go_along_in_later_turns(
    side: Side, mixed: Cluster, chat_id: str
) -> None:
    made = [png(50 + n) for n in range(6)]
    async with mixed.client(NUMBER[side.name]) as client:
        for n in range(0, 6, 2):
            ids = [(await sent(client, chat_id, b, name=f"{b[19]}.png"))["file_id"] for b in made[n : n + 2]]
            await client.ask(chat_id, f"question {n}", files=ids)
        await client.ask(chat_id, "and now?")
    (last,) = side.fake.of("and now?")
    users = [
        (pictures, words) for role, pictures, words in pictures_in(side.name, last.body) if role == "user"
    ]
    assert users == [
        ([], "[50.png: not shown]\n\n[51.png: not shown]\n\nquestion 0"),
        (made[2:4], "question 2"),
        (made[4:6], "question 4"),
        ([], "and now?"),
    ]


async def test_the_demo_model_tells_what_came(mixed: Cluster, chat_id: str) -> None:
    async with mixed.client(3) as client:
        ids = [
            (await sent(client, chat_id, jpeg(640, 480)))["file_id"],
            (await sent(client, chat_id, b"1 + 1\n2\n", "text/plain", "sums.txt"))["file_id"],
        ]
        text = (await client.ask(chat_id, "Look", files=ids)).text
    assert "image/jpeg, 640 × 480 pixels" in text
    assert "sums.txt" in text


async def test_a_file_comes_back_as_an_attachment_that_can_run_nothing(
    cluster: Cluster, client: Client, chat_id: str
) -> None:
    body = png(weight=200_000)
    for content, kind, name in (
        (body, "image/png", '../a/ü "x".png'),
        (b"<script>\n", "text/html", "a%0d%0ab.html"),
    ):
        quoted = name.encode().decode("latin-1") if "%" not in name else name
        told = await sent(client, chat_id, content, kind, quoted)
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
        assert await redis.hget(f"chat:{{{chat_id}}}:files", ":count") == b"1"


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
    file = await sent(client, chat_id, png())
    ollama.script.append(HELD)
    async with client.chat(chat_id, "first") as stream:
        await stream.until_text(HELD_TEXT)
        body = {"message": "look", "files": [file["file_id"]], "on_busy": "queue"}
        await client.http.post(f"/api/v1/chat/{chat_id}", json=body)
        (back,) = (await client.stop(chat_id, wait=5000))["unsent"]
    assert (back["message"], back["files"]) == ("look", [file])


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


# budgets, keys, models that cannot see


KEYS = {
    "API_KEYS": "ann:key-of-ann,bob:key-of-bob,cy:key-of-cy",
    "FILES_MAX_MB": "1",
    "MEMORY_MAX_CONVERSATIONS": "5",
}
AGENTS = ("blind", "unsure", "learner", "old")


@pytest.fixture(scope="module")
async def keyed(
    tmp_path_factory: pytest.TempPathFactory,
    redis_url: str,
    the_ollama: FakeOllama,
    the_bedrock: FakeBedrock,
    the_openai: FakeOpenAI,
) -> AsyncIterator[Cluster]:
    """Three keys with little room; backend-1 and 2 on Ollama, 3 on Bedrock, 4 on one of OpenAI's kind."""
    where = tmp_path_factory.mktemp("keyed")
    for name in AGENTS:
        (where / f"{name}.toml").write_text(
            'description = "d"\nprompt = "p"\n'
            f'models = {{ ollama = "{name}", bedrock = "anthropic.{name}", openai = "{name}" }}\n'
        )
    (where / "micro.toml").write_text(
        'description = "d"\nprompt = "p"\nmodels = { bedrock = "us.amazon.nova-micro-v1:0" }\n'
    )
    env = {**ollama_env(the_ollama), **KEYS, "AGENTS_DIR": str(where)}
    env_of = {3: bedrock_env(the_bedrock), 4: openai_env(the_openai)}
    async with Cluster(where, redis_url, env=env, env_of=env_of, backends=4) as cluster:
        yield cluster


async def room_of(cluster: Cluster, owner: str) -> dict[str, int]:
    async with connect(cluster.redis_url) as redis:
        rows: dict[bytes, bytes] = await redis.hgetall(f"files:{owner}")  # type: ignore[assignment]  # undecoded
    return {name.decode(): int(value.split(b" ")[0]) for name, value in rows.items()}


async def test_another_key_gets_nothing(keyed: Cluster, ollama: FakeOllama, chat_id: str) -> None:
    async with keyed.client(key="key-of-ann") as ann, keyed.client(key="key-of-bob") as bob:
        file_id = (await sent(ann, chat_id, png()))["file_id"]
        assert (await got(bob, chat_id, file_id)).status_code == 404
        body = {"message": "look", "files": [file_id]}
        assert (await bob.http.post(f"/api/v1/chat/{chat_id}", json=body)).status_code == 404
        assert (await got(ann, chat_id, file_id)).content == png()
        async with keyed.client() as nobody:
            assert (await got(nobody, chat_id, file_id)).status_code == 401
            assert (await put(nobody, chat_id, png())).status_code == 401
        await ann.http.delete(f"/api/v1/chat/{chat_id}")


async def test_many_at_once_never_go_beyond_the_room_and_get_it_back(
    keyed: Cluster, ollama: FakeOllama, new_chat: Any
) -> None:
    chats = [new_chat() for _ in range(4)]
    bodies = [png(n + 1, weight=100_000) for n in range(24)]
    async with contextmany(keyed, "key-of-cy") as clients:
        answers = await asyncio.gather(
            *(put(clients[n % 3], chats[n % 4], body) for n, body in enumerate(bodies))
        )
        assert {answer.status_code for answer in answers} == {201, 413}
        refused = next(answer.json() for answer in answers if answer.status_code == 413)
        assert "1 MB" in refused["detail"]
        taken = [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 201]
        assert sum(map(len, taken)) <= 1024 * 1024 < sum(map(len, taken)) + 100_300
        room = await room_of(keyed, "cy")
        assert room[":total"] == sum(map(len, taken)) == sum(room[chat] for chat in chats if chat in room)
        assert (await put(clients[0], chats[0], taken[0])).status_code in (201, 413)  # perhaps another chat's
        await clients[0].ask(chats[0], "messages still go in")
        for chat in chats:
            await clients[1].http.delete(f"/api/v1/chat/{chat}")
        assert await room_of(keyed, "cy") == {}
        assert (await put(clients[2], chats[0], bodies[0])).status_code == 201
        await clients[1].http.delete(f"/api/v1/chat/{chats[0]}")


class contextmany:
    """A client for each backend."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self.clients = [cluster.client(n, key=key) for n in (1, 2, 3)]

    async def __aenter__(self) -> list[Client]:
        return self.clients

    async def __aexit__(self, *_: object) -> None:
        for client in self.clients:
            await client.http.aclose()


async def test_what_has_expired_gives_its_room_back(keyed: Cluster, new_chat: Any) -> None:
    old, new = new_chat(), new_chat()
    async with keyed.client(1, key="key-of-bob") as bob, connect(keyed.redis_url) as redis:
        for n in range(2):
            await sent(bob, old, png(n + 1, weight=450_000))
        await redis.delete(f"chat:{{bob:{old}}}:files")  # as when it expires
        assert (await put(bob, new, png(3, weight=450_000))).status_code == 413  # it may just be being stored
        await redis.hset("files:bob", old, "900576 1000 token")
        await asyncio.sleep(1.1)  # it is looked up once a second
        assert (await put(bob, new, png(3, weight=450_000))).status_code == 201
        assert list(await room_of(keyed, "bob")) == [":total", new] or set(await room_of(keyed, "bob")) == {
            ":total",
            new,
        }
        await bob.http.delete(f"/api/v1/chat/{new}")


async def test_an_evicted_chat_gives_its_room_back(keyed: Cluster, ollama: FakeOllama, new_chat: Any) -> None:
    async with keyed.client(1, key="key-of-bob") as bob:
        first = new_chat()
        file = await sent(bob, first, png())
        await bob.ask(first, "look", files=[file["file_id"]])
        for _ in range(6):
            await bob.ask(new_chat(), "push it out")

        async def forgotten() -> bool:
            return first not in await room_of(keyed, "bob")

        await eventually(forgotten)
        assert (await got(bob, first, file["file_id"])).status_code == 404


async def test_a_model_that_cannot_see_is_told_at_once_and_nothing_is_stored(
    keyed: Cluster, chat_id: str, ollama: FakeOllama, bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend, agent, can in ((1, "blind", ("completion", "tools")), (1, "old", None), (3, "micro", ())):
        monkeypatch.setattr(ollama, "capabilities", can)
        async with keyed.client(backend, key="key-of-ann") as ann:
            picture = (await sent(ann, chat_id, png()))["file_id"]
            text = (await sent(ann, chat_id, b"hello"))["file_id"]
            for on_busy in ("reject", "queue", "replace"):
                body = {"message": "look", "agent": agent, "files": [picture, text], "on_busy": on_busy}
                answer = await ann.http.post(f"/api/v1/chat/{chat_id}", json=body)
                assert (answer.status_code, answer.json()["code"]) == (422, "no_vision")
            assert (await ann.chat_info(chat_id))["status"] == "new"
            assert (await ann.ask(chat_id, "read", agent=agent, files=[text])).outcome == "done"
            await ann.http.delete(f"/api/v1/chat/{chat_id}")
    assert not ollama.of("look")
    assert not bedrock.of("look")


REFUSALS = {
    3: Failure(
        400, "ValidationException", "This model doesn't support the image content block that you provided."
    ),
    4: Failure(
        500, "server_error", "image input is not supported - hint: you may need to provide the mmproj"
    ),
}


@pytest.mark.parametrize("backend", REFUSALS)
async def test_a_refusal_of_a_picture_is_remembered(
    keyed: Cluster, chat_id: str, bedrock: FakeBedrock, openai: FakeOpenAI, backend: int
) -> None:
    fake: FakeModel = bedrock if backend == 3 else openai
    fake.script.append(Reply(refuse=True, failure=REFUSALS[backend]))
    async with keyed.client(backend, key="key-of-ann") as ann:
        file_id = (await sent(ann, chat_id, png()))["file_id"]
        stream = await ann.ask(chat_id, "look here", agent="learner", files=[file_id])
        error = stream.end["error"]
        assert (stream.outcome, error["code"], error["retry"]) == ("failed", "no_vision", False)
        body = {"message": "look again", "agent": "learner", "files": [file_id]}
        assert (await ann.http.post(f"/api/v1/chat/{chat_id}", json=body)).status_code == 422
        assert len(fake.exchanges) == 1
        await ann.http.delete(f"/api/v1/chat/{chat_id}")


@pytest.mark.parametrize("words", ["unsupported image format: webp is not supported", "image is too large"])
async def test_a_picture_that_is_refused_for_itself_makes_no_model_blind(
    keyed: Cluster, chat_id: str, openai: FakeOpenAI, words: str
) -> None:
    openai.script.append(Reply(refuse=True, failure=Failure(400, "invalid_request_error", words)))
    async with keyed.client(4, key="key-of-ann") as ann:
        file_id = (await sent(ann, chat_id, png()))["file_id"]
        stream = await ann.ask(chat_id, "look", agent="unsure", files=[file_id])
        assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "model_refused")
        assert (await ann.ask(chat_id, "again", agent="unsure", files=[file_id])).outcome == "done"
        await ann.http.delete(f"/api/v1/chat/{chat_id}")


async def test_where_an_agent_that_cannot_see_takes_over_pictures_are_only_named(
    keyed: Cluster, chat_id: str, ollama: FakeOllama, bedrock: FakeBedrock
) -> None:
    words = "The model does not support image input"
    async with keyed.client(3, key="key-of-ann") as ann:
        file_id = (await sent(ann, chat_id, png(), name="door.png"))["file_id"]
        await ann.ask(chat_id, "look", agent="old", files=[file_id])
        assert (await ann.ask(chat_id, "and now?", agent="micro")).outcome == "done"
        bedrock.script.append(Reply(refuse=True, failure=Failure(400, "ValidationException", words)))
        assert (await ann.ask(chat_id, "and then?", agent="unsure")).outcome == "done"
        await ann.http.delete(f"/api/v1/chat/{chat_id}")
    (now,) = bedrock.of("and now?")
    assert pictures_in("bedrock", now.body)[0] == ("user", [], "[door.png: not shown]\n\nlook")
    _, then = bedrock.of("and then?")
    assert pictures_in("bedrock", then.body)[0][1] == []


async def test_a_text_beyond_the_window_is_refused_by_name_of_the_trouble(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    file_id = (await sent(client, chat_id, b"many words " * 9000))["file_id"]
    stream = await client.ask(chat_id, "sum it up", files=[file_id])
    assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "context_overflow")
    assert not ollama.of("sum it up")


async def test_files_go_out_and_come_back_with_everything(
    keyed: Cluster, ollama: FakeOllama, chat_id: str
) -> None:
    async with keyed.client(1, key="key-of-ann") as ann, keyed.client(1, key="key-of-cy") as cy:
        made = [png(7, weight=100_001), jpeg(), TEXT]
        ids = [(await sent(ann, chat_id, body, name=f"%25{n}.x"))["file_id"] for n, body in enumerate(made)]
        await ann.ask(chat_id, "look", files=ids[:2])
        await ann.ask(chat_id, "and read", files=ids[2:])
        file = (await ann.http.get("/api/v1/export")).content
        lines = [json.loads(line) for line in file.splitlines()]
        (line,) = [one for one in lines if one["chat_id"] == chat_id]
        done = (await cy.http.post("/api/v1/import", content=json.dumps(line))).json()
        assert (done["imported"], done["failed"]) == (1, 0)
        assert await cy.chat_info(chat_id) == await ann.chat_info(chat_id)
        for file_id, body in zip(ids, made, strict=True):
            assert (await got(cy, chat_id, file_id)).content == body
        assert json.loads((await cy.http.get("/api/v1/export")).content) == line
        renamed = {**line, "chat_id": f"{chat_id}-x"}
        for entry in renamed["files"]:
            if entry["file_id"] == ids[0]:
                entry["data"] = base64.b64encode(b"<svg/>").decode()
            if entry["file_id"] == ids[1]:
                entry["data"] = "***"
        done = (await cy.http.post("/api/v1/import", content=json.dumps(renamed))).json()
        assert done["imported"] == 1
        told = [m.get("files") for m in await cy.messages(f"{chat_id}-x") if m["role"] == "user"]
        assert [[one["file_id"] for one in files or ()] for files in told] == [[], [ids[2]]]
        for client in (ann, cy):
            for one in (await client.get("/api/v1/chats"))["chats"]:
                await client.http.delete(f"/api/v1/chat/{one['chat_id']}")


# OpenAI's addresses


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
