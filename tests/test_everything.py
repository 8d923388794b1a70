"""All chats of a key go into one file and come back equal; bad lines are told and harm no other."""

import json
from codecs import BOM_UTF8
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import ollama_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply, ToolCall

KEYS = {
    "API_KEYS": ",".join(
        f"out-and-in-{name}:key-of-{name}" for name in ("ann", "bob", "cy", "dan", "eve", "fay")
    ),
    "MEMORY_MAX_CONVERSATIONS": "20",
}
AT = "2026-01-02T03:04:05.678Z"


@pytest.fixture(scope="module")
async def keyed(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    env = {**ollama_env(the_ollama), **KEYS}
    async with Cluster(tmp_path_factory.mktemp("keyed"), redis_url, env=env, backends=1) as cluster:
        yield cluster


async def put_in(client: Client, *lines: object) -> dict[str, Any]:
    body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    headers = {"Content-Type": "application/x-ndjson"}  # as the export calls itself
    answer = await client.http.post("/api/v1/import", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def taken_out(client: Client) -> bytes:
    answer = await client.http.get("/api/v1/export")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    return answer.content


def chat(chat_id: str, messages: int = 2, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    told = [{"role": roles[n % 2], "content": f"message {n}", "created_at": AT} for n in range(messages)]
    return {"chat_id": chat_id, "title": chat_id, "messages": told, **more}


async def test_what_goes_out_comes_back_equal(keyed: Cluster, ollama: FakeOllama) -> None:
    async with keyed.client(key="key-of-ann") as ann, keyed.client(key="key-of-bob") as bob:
        ollama.default = Reply(tokens=['Grüße "und" \\ mehr\n', "\u2028 <b>\u2029 \x85 "], thinking=["hm"])
        for n in range(3):
            await ann.ask(f"chat-{n}", f"question {n}\nwith lines")
        ollama.default = FLOWING
        async with ann.chat("chat-1", "stop me") as stream:
            await stream.until_text("word1")
            await ann.stop("chat-1", wait=5000)
            await stream.rest()
        await ann.http.patch("/api/v1/chat/chat-2", json={"title": "Ein Name"})
        file = await taken_out(ann)
        assert file.decode().splitlines() == file.decode().split("\n")[:-1]
        done = await put_in(bob, BOM_UTF8 + file)
        assert (done["imported"], done["failed"], done["errors"]) == (3, 0, [])
        for n in range(3):
            assert await bob.chat_info(f"chat-{n}") == await ann.chat_info(f"chat-{n}")
        assert await taken_out(bob) == file
        listed = [(await client.get("/api/v1/chats"))["chats"] for client in (ann, bob)]
        assert listed[0] == listed[1]
        ollama.default = Reply()
        info = await bob.chat_info("chat-0")
        again = await bob.ask("chat-0", "better", replaces=info["messages"][0]["run_id"])
        assert again.outcome == "done"
        assert [m["content"] for m in await bob.messages("chat-0")] == ["better", Reply().text]


async def test_all_of_a_chat_comes_back(keyed: Cluster, ollama: FakeOllama) -> None:
    tool = ToolCall("calculate", {"expression": "6 * 7"})
    ollama.on("tool", Reply(tokens=["It is ", "42."], tool=tool, thinking=["hm"]))
    ollama.on("held", HELD)
    ollama.on("Go on", Reply(tokens=["and more"]))
    async with keyed.client(key="key-of-dan") as dan, keyed.client(key="key-of-eve") as eve:
        first = await dan.ask("full", "tool")
        second = await dan.ask("full", "second")
        await dan.ask("full", "second, edited", replaces=second.run_id)
        await dan.ask("full", "tool, edited", replaces=first.run_id)  # a version with versions in it
        turns = [{"role": "user", "content": text} for text in ("brought", "held")]
        body = {"model": "general", "messages": [turns[0], {"role": "assistant", "content": "x"}, turns[1]]}
        async with dan.http.stream(
            "POST", "/v1/chat/completions", json=body | {"stream": True}, headers={"X-Chat-Id": "full"}
        ) as answer:
            pieces = answer.aiter_text()
            while "word2" not in await anext(pieces):
                pass
            await dan.stop("full", wait=5000)
        wanted = {"agent": "poet", "instructions": "Briefly.", "temperature": 0.3, "title": "Named"}
        assert (await dan.http.patch("/api/v1/chat/full", json=wanted)).status_code == 200
        await dan.ask("other", "hello")
        before = await dan.chat_info("full")
        assert str(before).count("'versions'") == 2
        file = await taken_out(dan)
        for _ in range(2):  # the answer may be lost
            assert [c["chat_id"] for c in (await put_in(eve, file))["chats"]] == ["full", "other"]
        assert await eve.chat_info("full") == before
        assert await taken_out(eve) == file
        assert (await dan.http.delete("/api/v1/chat/full")).status_code == 200
        assert [c["chat_id"] for c in (await put_in(dan, file))["chats"]] == ["full", "other-2"]
        for one in (dan, eve):
            reply = (await one.messages("full"))[-1]
            url = "/api/v1/chat/full?format=json"
            async with one.http.stream("POST", url, json={"continues": reply["run_id"]}) as answer:
                assert answer.status_code == 200, await answer.aread()
                assert '"agent": "poet"' in (await answer.aread()).decode()
            assert (await one.messages("full"))[-1]["content"] == f"{HELD_TEXT}and more"
            oldest = (await one.messages("full"))[0]["versions"][0]["version"]
            answer = await one.http.post("/api/v1/chat/full/versions", json={"version": oldest})
            assert answer.status_code == 200
            back = [m for m in await one.messages("full") if m["role"] == "user"]
            assert [m["content"] for m in back] == ["tool", "second, edited"]
            assert [len(m.get("versions", ())) for m in back] == [2, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"parts": [{"type": "smell", "text": "x"}]},
        {"parts": "x"},
        {"parts": [{"type": "text", "text": 7}]},
        {"parts": [{"type": "tool", "name": "x"}]},
        {"versions": [{"version": 0, "messages": []}]},
        {"versions": [{"version": 1, "messages": [{"role": "user"}]}]},
    ],
)
async def test_a_step_or_version_that_is_none_is_told(keyed: Cluster, wrong: dict[str, Any]) -> None:
    async with keyed.client(key="key-of-cy") as cy:
        line = chat("wrong-one")
        line["messages"][1] |= wrong
        done = await put_in(cy, line)
        assert (done["imported"], [one["line"] for one in done["errors"]]) == (0, [1])


async def test_an_id_that_is_taken_is_renamed_and_bad_lines_are_told(keyed: Cluster) -> None:
    async with keyed.client(key="key-of-cy") as cy:
        await put_in(cy, chat("mine"))
        before = await cy.chat_info("mine")
        lone = b'{"chat_id": "a", "messages": [{"role": "user", "content": "\\ud800", "created_at": "%b"}]}'
        done = await put_in(
            cy,
            chat("mine", 4),
            b"not json",
            chat("bad id!"),
            b"",
            {"chat_id": "empty", "messages": []},
            {"chat_id": "who", "messages": [{"role": "system", "content": "x", "created_at": AT}]},
            lone % AT.encode(),
            chat("fine", secret="canary-secret"),
        )
        assert [(one["line"], one["chat_id"]) for one in done["chats"]] == [(1, "mine-2"), (8, "fine")]
        assert [one["line"] for one in done["errors"]] == [2, 3, 5, 6, 7]
        assert (done["imported"], done["failed"]) == (2, 5)
        assert "canary" not in str(done)
        assert await cy.chat_info("mine") == before
        assert (await cy.chat_info("mine-2"))["message_count"] == 4
        assert (await cy.chat_info("empty"))["status"] == "new"


async def test_limits_hold_for_what_is_put_in(keyed: Cluster) -> None:
    async with keyed.client(key="key-of-cy") as cy:
        heavy = chat("heavy", 40)
        for message in heavy["messages"]:
            message["content"] = "x" * 100_000
        done = await put_in(cy, chat("long", 500), heavy, *(chat(f"many-{n}") for n in range(40)))
        assert done["failed"] == 0
        assert (await cy.get("/api/v1/chats?limit=200"))["count"] == 20
        await put_in(cy, chat("long", 500, updated_at="2030-01-01T00:00:00Z"))
        newest = (await cy.get("/api/v1/chats?limit=1"))["chats"][0]
        assert newest["message_count"] == 200
        messages = await cy.messages(newest["chat_id"])
        assert [m["content"] for m in messages] == [f"message {n}" for n in range(300, 500)]
        await put_in(cy, {**heavy, "updated_at": "2031-01-01T00:00:00Z"})
        newest = (await cy.get("/api/v1/chats?limit=1"))["chats"][0]
        assert 15 <= newest["message_count"] <= 21
        assert (await cy.http.post("/api/v1/import", content=b"x" * 17_000_000)).status_code == 413


async def test_another_key_gets_nothing_of_it(keyed: Cluster, ollama: FakeOllama) -> None:
    async with keyed.client(key="key-of-ann") as ann, keyed.client(key="key-of-bob") as bob:
        await ann.ask("only-of-ann", "hello")
        assert b"only-of-ann" in await taken_out(ann)
        assert b"only-of-ann" not in await taken_out(bob)
    async with keyed.client() as nobody:
        assert (await nobody.http.get("/api/v1/export")).status_code == 401
        assert (await nobody.http.post("/api/v1/import", content=b"")).status_code == 401


HOSTILE: dict[str, bytes] = {
    "no number": b"NaN",
    "nearly a number": b"1e999",
    "more than any chat holds": b"[" + b"[]," * 2_000_000 + b"[]]",
    "a message larger than its chat": b'"' + b"x" * 3_000_000 + b'"',
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_no_chat_can_tell_again_is_told_and_the_others_go_in(keyed: Cluster, what: str) -> None:
    wrong = json.dumps(chat("hostile", 1)).encode().replace(b'"role"', b'"facts":{"x":%s},"role"', 1)
    async with keyed.client(key="key-of-fay") as fay:
        done = await put_in(fay, wrong % HOSTILE[what], chat("fine"))
        assert [one["line"] for one in done["errors"]] == [1]
        assert [one["line"] for one in done["chats"]] == [2]
        json.loads(await taken_out(fay), parse_constant=pytest.fail)


async def test_times_that_never_were_break_no_list(keyed: Cluster) -> None:
    late = "9999-12-31T23:59:59-14:00"
    one = chat("late", updated_at=late, created_at=late)
    one["messages"][1]["created_at"] = late
    async with keyed.client(key="key-of-fay") as fay:
        for _ in range(2):  # the second time it finds itself
            done = await put_in(fay, one)
            assert [told["chat_id"] for told in done["chats"]] == ["late"]
        info = await fay.chat_info("late")
        assert info["updated_at"] < info["expires_at"] < "9"
        assert info["messages"][1]["created_at"] == "9999-12-31T23:59:59.000Z"
        assert (await fay.get("/api/v1/chats"))["chats"][0]["chat_id"] == "late"
