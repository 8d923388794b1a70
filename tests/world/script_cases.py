"""One request for each script of the store that uses it, and what comes before."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.world.at_script import NAME, Trial
from tests.world.pictures import png
from tests.world.uploads import put
from tests.world.waiting import eventually

Step = Callable[[Trial], Awaitable[Any]]


@dataclass(frozen=True)
class Case:
    """`request` uses the script; what it answers is a status, 0 for none. `before` comes first.

    With `kept_when_refused` a refused request has changed nothing; what else changes may have happened
    when its answer was lost, and is there once when it is asked again. `also` goes wrong too. `alone`: its
    keys do not name the chat. `word`: what names the request in its keys instead of the chat.
    """

    request: Step
    before: Step | None = None
    kept_when_refused: bool = False
    also: str = ""
    alone: bool = False
    word: str = ""


async def two_turns(t: Trial) -> None:
    for n in (1, 2):
        assert await t.say(n) == 200


async def version(t: Trial) -> None:
    await two_turns(t)
    assert await t.say(3, "instead", replaces=t.run(2)) == 200
    (t.known["version"],) = [int(n) for n in await t.redis.hkeys(f"{t.key}:versions") if n.isdigit()]


async def with_file(t: Trial) -> None:
    await two_turns(t)
    answer = await put(t.client, t.chat, png())
    assert answer.status_code == 201
    t.known["file"] = answer.json()["file_id"]


async def held(t: Trial) -> None:
    await t.say(1)
    await t.begin(2)


async def held_and_waiting(t: Trial) -> None:
    await held(t)
    body = {"message": "word", "run_id": t.run(3), "on_busy": "queue"}
    assert await t.ask("POST", f"chat/{t.chat}", json=body) == 202


async def asked(t: Trial) -> None:
    await t.begin(1, "work it out", agent="careful")


async def noted(t: Trial) -> None:
    await two_turns(t)
    t.known["noted"] = True


async def crowded(t: Trial) -> None:
    """Some old names in the index, whose chats have long gone."""
    await t.redis.zadd("chats", {f"crowd-{n}": n for n in range(200)})


async def exported(t: Trial) -> None:
    await two_turns(t)
    lines = (await t.client.http.get("/api/v1/export")).content.splitlines()
    t.known["line"] = next(one for one in lines if json.loads(one)["chat_id"] == t.chat)
    assert await t.ask("DELETE", f"chat/{t.chat}") == 200


async def new_message(t: Trial) -> int:
    return await t.say(9, "word")


async def named(t: Trial) -> int:
    status = await t.say(9)

    async def has_it() -> bool:
        return bool(await t.redis.hget(t.key, "title") == NAME.encode())

    await eventually(has_it, within=30)
    return status


async def in_its_place(t: Trial) -> int:
    return await t.say(9, "word", replaces=t.run(1))


async def replacing(t: Trial) -> int:
    return await t.say(9, "word", on_busy="replace")


async def stop(t: Trial) -> int:
    status = await t.ask("POST", f"stop/{t.chat}?wait=5000")
    if status == 202:
        await asyncio.gather(*t.beside)
    return status


async def take_back(t: Trial) -> int:
    status = await t.ask("DELETE", f"chat/{t.chat}/queue/{t.run(3)}")
    if status in {200, 404}:
        assert await stop(t) == 202
    return status


async def stop_by_key(t: Trial) -> int:
    t.known["by key"] = True  # where it is not consumed it lapses
    await t.redis.set(f"stop:{t.chat}", str(int(time.time() * 1000)), ex=60)
    await asyncio.gather(*t.beside)
    return 200


async def approve(t: Trial) -> int:
    await eventually(lambda: t.redis.exists(f"{t.key}:approvals"), within=30)
    calls = await t.redis.hkeys(f"{t.key}:approvals")
    (call,) = [name.decode() for name in calls if b":" not in name]
    body = {"tool_use_id": call, "approve": True, "for": "chat"}
    status = await t.ask("POST", f"chat/{t.chat}/approve", json=body)
    if status == 200:
        await asyncio.gather(*t.beside)
    return status


async def ask_and_approve(t: Trial) -> int:
    await asked(t)
    return await approve(t)


async def forgotten(t: Trial) -> int:
    await t.redis.zadd("queued", {t.chat: 1000})

    async def gone() -> bool:
        return await t.redis.zscore("queued", t.chat) is None

    await eventually(gone, within=30)
    return 200


async def in_line(t: Trial) -> int:
    """Another chat has the only place; it is stopped when this one waits."""
    other = f"{t.chat}-other"
    holding = asyncio.create_task(t.say(8, "hold on", chat=other))
    await eventually(lambda: t.redis.exists(f"{t.prefix}chat:{{{other}}}:events:{t.run(8)}"), within=30)
    waiting = asyncio.create_task(t.say(9, "word"))
    await asyncio.sleep(2.5)  # it looks every second
    await t.ask("POST", f"stop/{other}?wait=5000")
    await holding
    return await waiting


def step(method: str, path: str, **body: Any) -> Step:
    """A request on the chat, with what is known of it put in."""

    async def request(t: Trial) -> int:
        told = {name: t.known.get(value, value) for name, value in body.items()}
        told = {name: v.replace("CHAT", t.chat) if isinstance(v, str) else v for name, v in told.items()}
        return await t.ask(method, path.replace("CHAT", t.chat), **({"json": told} if body else {}))

    return request


async def upload(t: Trial) -> int:
    answer = await t.client.http.post(f"/api/v1/chat/{t.chat}/files", content=png())
    return answer.status_code


async def take_out(t: Trial) -> int:
    return await t.ask("DELETE", f"chat/{t.chat}/files/{t.known['file']}")


async def not_kept(t: Trial) -> int:
    """A reply in a chat that is not kept."""
    body = {"model": "general", "input": "word", "store": False}
    return (await t.client.http.post("/v1/responses", json=body)).status_code


async def bring(t: Trial) -> int:
    answer = await t.client.http.post("/api/v1/import", content=t.known["line"])
    told = answer.json() if answer.status_code == 200 else {}
    return 503 if told.get("errors") else answer.status_code


CASES = {
    "scripts.START": Case(in_its_place, two_turns, kept_when_refused=True),
    "scripts.END": Case(new_message, two_turns),
    "scripts.UNDO": Case(in_its_place, two_turns, kept_when_refused=True, also="scripts.START"),
    "written.SYNCING": Case(new_message, two_turns),
    "scripts.TOUCH": Case(new_message, two_turns, kept_when_refused=True),
    "branches.SWAP": Case(step("POST", "chat/CHAT/versions", version="version"), version),
    "branches.FORK": Case(step("POST", "chat/CHAT/fork", run_id="CHAT-run-1", chat_id="CHAT-b"), two_turns),
    "branches.EDIT": Case(step("PATCH", "chat/CHAT", title="new", instructions="be short"), two_turns),
    "eventlog.APPEND": Case(new_message, two_turns),
    "shelf.DELETE": Case(step("DELETE", "chat/CHAT"), with_file),
    "shelf.SURPLUS": Case(new_message, crowded, word="chats"),
    "stops.LOOK": Case(stop, held_and_waiting),
    "stops.TAKE": Case(stop, held),
    "queue.ENTER": Case(new_message, two_turns, alone=True),
    "queue.TAKE": Case(in_line, alone=True),
    "queue.LEAVE": Case(new_message, two_turns, alone=True),
    "queue.RENEW": Case(in_line, alone=True),
    "queues.TAKE_BACK": Case(take_back, held_and_waiting),
    "queues.HAND_ALL_BACK": Case(stop_by_key, held_and_waiting),
    "queues.CLEAR_THE_WAY": Case(replacing, two_turns, kept_when_refused=True, also="scripts.START"),
    "queues.FORGET": Case(forgotten, noted),
    "titles.NAME": Case(named, alone=True),
    "files.PUT": Case(upload, two_turns),
    "files.REMOVE": Case(take_out, with_file),
    "weights.RESERVE": Case(upload, two_turns),
    "weights.PUT_RIGHT": Case(step("DELETE", "chat/CHAT"), with_file),
    "weights.DROP": Case(not_kept, two_turns, word="files"),
    "archive.PUT_IN": Case(bring, exported),
    "approvals.ASK": Case(ask_and_approve),
    "approvals.ANSWER": Case(approve, asked),
}
