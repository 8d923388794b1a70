"""Files and keys: who sees them, how much room there is, and models that cannot see."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import bedrock_env, ollama_env, openai_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.model import FakeModel
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.openai import FakeOpenAI
from tests.world.fakes.reply import Failure, Reply
from tests.world.pictures import jpeg, png
from tests.world.redis_server import connect
from tests.world.uploads import got, pictures_in, put, sent
from tests.world.waiting import eventually

TEXT = 'Grüße aus ```der``` Datei\r\nline 2 \\ "quoted" 🙂\n\n'.encode()


KEYS = {
    "API_KEYS": "fay:key-of-fay,gus:key-of-gus,hal:key-of-hal",
    "FILES_MAX_MB": "1",
    "MEMORY_MAX_CONVERSATIONS": "5",
}
AGENTS = ("blind", "unsure", "learner", "old", "seer")


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
        rows: dict[str, str] = await redis.hgetall(f"files:{owner}")  # type: ignore[assignment]  # decoded
    return {name: int(value.split()[0]) for name, value in rows.items()}


async def test_another_key_gets_nothing(keyed: Cluster, ollama: FakeOllama, chat_id: str) -> None:
    async with keyed.client(key="key-of-fay") as fay, keyed.client(key="key-of-gus") as gus:
        file_id = (await sent(fay, chat_id, png()))["file_id"]
        assert (await got(gus, chat_id, file_id)).status_code == 404
        body = {"message": "look", "files": [file_id]}
        assert (await gus.http.post(f"/api/v1/chat/{chat_id}", json=body)).status_code == 404
        assert (await got(fay, chat_id, file_id)).content == png()
        async with keyed.client() as nobody:
            assert (await got(nobody, chat_id, file_id)).status_code == 401
            assert (await put(nobody, chat_id, png())).status_code == 401
        await fay.http.delete(f"/api/v1/chat/{chat_id}")


async def test_many_at_once_never_go_beyond_the_room_and_get_it_back(
    keyed: Cluster, ollama: FakeOllama, new_chat: Any
) -> None:
    chats = [new_chat() for _ in range(4)]
    bodies = [png(n + 1, weight=100_000) for n in range(24)]
    async with contextmany(keyed, "key-of-hal") as clients:
        answers = await asyncio.gather(
            *(put(clients[n % 3], chats[n % 4], body) for n, body in enumerate(bodies))
        )
        assert {answer.status_code for answer in answers} == {201, 413}
        refused = next(answer.json() for answer in answers if answer.status_code == 413)
        assert "1 MB" in refused["detail"]
        taken = [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 201]
        assert sum(map(len, taken)) <= 1024 * 1024 < sum(map(len, taken)) + 100_300
        room = await room_of(keyed, "hal")
        assert room[":total"] == sum(map(len, taken)) == sum(room[chat] for chat in chats if chat in room)
        assert (await put(clients[0], chats[0], taken[0])).status_code in (201, 413)  # perhaps another chat's
        await clients[0].ask(chats[0], "messages still go in")
        for chat in chats:
            await clients[1].http.delete(f"/api/v1/chat/{chat}")
        assert await room_of(keyed, "hal") == {}
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
    async with keyed.client(1, key="key-of-gus") as gus, connect(keyed.redis_url) as redis:
        for n in range(2):
            await sent(gus, old, png(n + 1, weight=450_000))
        await redis.delete(f"chat:{{gus:{old}}}:files")  # as when it expires
        assert (await put(gus, new, png(3, weight=450_000))).status_code == 413  # it may just be being stored
        await redis.hset("files:gus", old, "900576 1000 token")
        await asyncio.sleep(1.1)  # it is looked up once a second
        assert (await put(gus, new, png(3, weight=450_000))).status_code == 201
        assert list(await room_of(keyed, "gus")) == [":total", new] or set(await room_of(keyed, "gus")) == {
            ":total",
            new,
        }
        await gus.http.delete(f"/api/v1/chat/{new}")


async def test_an_evicted_chat_gives_its_room_back(keyed: Cluster, ollama: FakeOllama, new_chat: Any) -> None:
    async with keyed.client(1, key="key-of-gus") as gus:
        first = new_chat()
        file = await sent(gus, first, png())
        await gus.ask(first, "look", files=[file["file_id"]])
        for _ in range(6):
            await gus.ask(new_chat(), "push it out")

        async def forgotten() -> bool:
            return first not in await room_of(keyed, "gus")

        await eventually(forgotten)
        assert (await got(gus, first, file["file_id"])).status_code == 404


async def test_a_model_that_cannot_see_is_told_at_once_and_nothing_is_stored(
    keyed: Cluster, chat_id: str, ollama: FakeOllama, bedrock: FakeBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend, agent, can in ((1, "blind", ("completion", "tools")), (1, "old", None), (3, "micro", ())):
        monkeypatch.setattr(ollama, "capabilities", can)
        async with keyed.client(backend, key="key-of-fay") as fay:
            picture = (await sent(fay, chat_id, png()))["file_id"]
            text = (await sent(fay, chat_id, b"hello"))["file_id"]
            for on_busy in ("reject", "queue", "replace"):
                body = {"message": "look", "agent": agent, "files": [picture, text], "on_busy": on_busy}
                answer = await fay.http.post(f"/api/v1/chat/{chat_id}", json=body)
                assert (answer.status_code, answer.json()["code"]) == (422, "no_vision")
            assert (await fay.chat_info(chat_id))["status"] == "new"
            assert (await fay.ask(chat_id, "read", agent=agent, files=[text])).outcome == "done"
            await fay.http.delete(f"/api/v1/chat/{chat_id}")
    assert not ollama.of("look")
    assert not bedrock.of("look")


async def test_the_agent_that_was_chosen_for_the_chat_is_the_one_that_must_see(
    keyed: Cluster, chat_id: str, bedrock: FakeBedrock
) -> None:
    async with keyed.client(3, key="key-of-fay") as fay:
        await fay.ask(chat_id, "hello")
        assert (await fay.http.patch(f"/api/v1/chat/{chat_id}", json={"agent": "micro"})).status_code == 200
        file_id = (await sent(fay, chat_id, png()))["file_id"]
        body = {"message": "look", "files": [file_id]}
        assert (await fay.http.post(f"/api/v1/chat/{chat_id}", json=body)).status_code == 422
        await fay.http.patch(f"/api/v1/chat/{chat_id}", json={"agent": "seer"})
        assert (await fay.ask(chat_id, "look again", files=[file_id])).outcome == "done"
        await fay.http.delete(f"/api/v1/chat/{chat_id}")


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
    async with keyed.client(backend, key="key-of-fay") as fay:
        file_id = (await sent(fay, chat_id, png()))["file_id"]
        stream = await fay.ask(chat_id, "look here", agent="learner", files=[file_id])
        error = stream.end["error"]
        assert (stream.outcome, error["code"], error["retry"]) == ("failed", "no_vision", False)
        body = {"message": "look again", "agent": "learner", "files": [file_id]}
        assert (await fay.http.post(f"/api/v1/chat/{chat_id}", json=body)).status_code == 422
        assert len(fake.exchanges) == 1
        await fay.http.delete(f"/api/v1/chat/{chat_id}")


@pytest.mark.parametrize("words", ["unsupported image format: webp is not supported", "image is too large"])
async def test_a_picture_that_is_refused_for_itself_makes_no_model_blind(
    keyed: Cluster, chat_id: str, openai: FakeOpenAI, words: str
) -> None:
    openai.script.append(Reply(refuse=True, failure=Failure(400, "invalid_request_error", words)))
    async with keyed.client(4, key="key-of-fay") as fay:
        file_id = (await sent(fay, chat_id, png()))["file_id"]
        stream = await fay.ask(chat_id, "look", agent="unsure", files=[file_id])
        assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "model_refused")
        assert (await fay.ask(chat_id, "again", agent="unsure", files=[file_id])).outcome == "done"
        await fay.http.delete(f"/api/v1/chat/{chat_id}")


async def test_where_an_agent_that_cannot_see_takes_over_pictures_are_only_named(
    keyed: Cluster, chat_id: str, ollama: FakeOllama, bedrock: FakeBedrock
) -> None:
    words = "The model does not support image input"
    async with keyed.client(3, key="key-of-fay") as fay:
        file_id = (await sent(fay, chat_id, png(), name="door.png"))["file_id"]
        await fay.ask(chat_id, "look", agent="old", files=[file_id])
        assert (await fay.ask(chat_id, "and now?", agent="micro")).outcome == "done"
        bedrock.script.append(Reply(refuse=True, failure=Failure(400, "ValidationException", words)))
        assert (await fay.ask(chat_id, "and then?", agent="unsure")).outcome == "done"
        await fay.http.delete(f"/api/v1/chat/{chat_id}")
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
    async with keyed.client(1, key="key-of-fay") as fay, keyed.client(1, key="key-of-hal") as hal:
        made = [png(7, weight=100_001), jpeg(), TEXT]
        ids = [(await sent(fay, chat_id, body, name=f"%25{n}.x"))["file_id"] for n, body in enumerate(made)]
        await fay.ask(chat_id, "look", files=ids[:2])
        await fay.ask(chat_id, "and read", files=ids[2:])
        file = (await fay.http.get("/api/v1/export")).content
        lines = [json.loads(line) for line in file.splitlines()]
        (line,) = [one for one in lines if one["chat_id"] == chat_id]
        done = (await hal.http.post("/api/v1/import", content=json.dumps(line))).json()
        assert (done["imported"], done["failed"]) == (1, 0)
        assert await hal.chat_info(chat_id) == await fay.chat_info(chat_id)
        for file_id, body in zip(ids, made, strict=True):
            assert (await got(hal, chat_id, file_id)).content == body
        assert json.loads((await hal.http.get("/api/v1/export")).content) == line
        renamed = {**line, "chat_id": f"{chat_id}-x"}
        for entry in renamed["files"]:
            if entry["file_id"] == ids[0]:
                entry["data"] = base64.b64encode(b"<svg/>").decode()
            if entry["file_id"] == ids[1]:
                entry["data"] = "***"
        done = (await hal.http.post("/api/v1/import", content=json.dumps(renamed))).json()
        assert done["imported"] == 1
        told = [m.get("files") for m in await hal.messages(f"{chat_id}-x") if m["role"] == "user"]
        assert [[one["file_id"] for one in files or ()] for files in told] == [[], [ids[2]]]
        for client in (fay, hal):
            for one in (await client.get("/api/v1/chats"))["chats"]:
                await client.http.delete(f"/api/v1/chat/{one['chat_id']}")


async def test_all_files_of_a_chat_that_has_as_many_as_it_may_come_back(
    keyed: Cluster, client: Client, ollama: FakeOllama, new_chat: Any
) -> None:
    """More than any line may carry: in parts, under the same id and another, and twice."""
    chat_id, ids = new_chat(), list[str]()
    ids += [(await sent(client, chat_id, b"note %d\n" % n))["file_id"] for n in range(72)]
    for n in range(28):  # only the newest go to the model
        ids.append((await sent(client, chat_id, png(n + 1, weight=1_000_000)))["file_id"])
    assert (await put(client, chat_id, b"one more")).status_code == 413
    first = await client.ask(chat_id, "look 0", files=ids[:4])
    await client.ask(chat_id, "instead", replaces=first.run_id)
    for n in range(4, 100, 4):
        await client.ask(chat_id, f"look {n}", files=ids[n : n + 4])
    await client.http.patch(f"/api/v1/chat/{chat_id}", json={"title": "Named"})
    before = await client.chat_info(chat_id)
    file = (await client.http.get(f"/api/v1/chat/{chat_id}/export?format=jsonl")).content
    assert file in (await client.http.get("/api/v1/export")).content
    lines = file.splitlines(keepends=True)
    assert len(lines) > 15
    assert max(map(len, lines)) < 13_000_000

    async def put_in() -> list[str]:
        found = []
        for part in (lines[:1], lines[1:9], lines[9:]):
            answer = await client.http.post("/api/v1/import", content=b"".join(part))
            assert (answer.status_code, answer.json()["errors"]) == (200, [])
            found += [one["chat_id"] for one in answer.json()["chats"]]
        return found

    assert (await client.http.delete(f"/api/v1/chat/{chat_id}")).status_code == 200
    for _ in range(2):
        assert await put_in() == [chat_id]
        assert await client.chat_info(chat_id) == before
        assert (await client.http.get(f"/api/v1/chat/{chat_id}/export?format=jsonl")).content == file
    await client.http.delete(f"/api/v1/chat/{chat_id}")


async def test_files_that_follow_their_chat_find_it_under_its_new_id(keyed: Cluster, new_chat: Any) -> None:
    chat_id = new_chat()
    bodies = [png(n + 1) for n in range(3)]
    at = "2026-01-02T03:04:05.678Z"
    ids = [hashlib.sha256(body).hexdigest() for body in bodies]
    told = [
        {"file_id": one, "media_type": "image/png", "bytes": len(body), "width": n + 1, "height": 3}
        for n, (one, body) in enumerate(zip(ids, bodies, strict=True))
    ]
    named = [{**one, "name": "door.png"} for one in told]
    message = {"role": "user", "content": "look", "created_at": at, "files": named}
    line = json.dumps({"chat_id": chat_id, "messages": [message], "files": told}).encode()

    def behind(n: int, body: bytes, of: bytes = line) -> bytes:
        packed_in = {"file_id": ids[n], "media_type": "image/png", "data": base64.b64encode(body).decode()}
        told = {"chat_id": chat_id, "of": hashlib.sha256(of).hexdigest(), "files": [packed_in]}
        return json.dumps(told).encode()

    async with keyed.client(1, key="key-of-hal") as hal:
        await hal.ask(chat_id, "it is taken")
        lines = [behind(0, bodies[0]), line, behind(0, bodies[0]), behind(1, b"<svg/>"), behind(1, bodies[1])]
        done = (await hal.http.post("/api/v1/import", content=b"\n".join(lines))).json()
        assert [one["line"] for one in done["errors"]] == [1, 4]
        assert [(one["line"], one["chat_id"]) for one in done["chats"]] == [(2, f"{chat_id}-2")]
        later = behind(2, bodies[2]) + b"\n" + behind(2, bodies[2], b"another")
        done = (await hal.http.post("/api/v1/import", content=later)).json()
        assert [one["line"] for one in done["errors"]] == [2]
        assert [m["files"] for m in await hal.messages(f"{chat_id}-2")] == [named]
        for n, body in enumerate(bodies):
            assert (await got(hal, f"{chat_id}-2", ids[n])).content == body
            assert (await got(hal, chat_id, ids[n])).status_code == 404
        for one in (chat_id, f"{chat_id}-2"):
            await hal.http.delete(f"/api/v1/chat/{one}")


async def test_pictures_may_be_held_smaller_than_texts(
    tmp_path: Path, redis_url: str, the_ollama: FakeOllama, chat_id: str
) -> None:
    env = {**ollama_env(the_ollama), "FILE_MAX_KB": "1", "REDIS_PREFIX": "small:"}
    picture = png(1, 1)
    async with Cluster(tmp_path, redis_url, env=env, backends=1) as cluster, cluster.client() as client:
        assert (await put(client, chat_id, picture + bytes(1024 - len(picture)))).status_code == 201
        assert (await put(client, chat_id, picture + bytes(1025 - len(picture)))).status_code == 413
        assert (await put(client, chat_id, b"x" * 100 * 1024, "text/plain")).status_code == 201
        assert (await put(client, chat_id, b"x" * (100 * 1024 + 1), "text/plain")).status_code == 413
