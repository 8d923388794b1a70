"""Every door at which a reply can be asked for, as one kind of thing: how to ask there, and what it told."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.world.client import Client
from tests.world.sse import Frame, SseParser
from tests.world.waiting import eventually

Body = Callable[[str, str, str], dict[str, Any]]  # of a chat, an agent and a question

READ_SECONDS = 60  # of a busy machine


@dataclass(frozen=True)
class Door:
    """`path` and `body` of a request, from a chat, an agent and a question; `streams`: the answer comes in
    pieces; `leaving_ends`: who hangs up stops; `outcome` of what came, `cut` where it just broke off.
    """

    path: Callable[[str, str], str]
    body: Body
    outcome: Callable[[bytes], str]
    streams: bool = True
    leaving_ends: bool = True


@dataclass
class Asked:
    """A reply asked for at a door, read as bytes while it comes."""

    door: Door
    raw: bytes = b""
    broken: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    async def read(self, client: Client, path: str, body: dict[str, Any], chat_id: str) -> None:
        named = {"X-Chat-Id": chat_id}
        async with client.http.stream("POST", path, json=body, headers=named) as response:
            self.headers = dict(response.headers)
            if response.status_code != 200:
                raise AssertionError(f"{path}: {response.status_code} {await response.aread()!r}")
            try:
                async for piece in response.aiter_raw():
                    self.raw += piece
            except httpx.HTTPError:
                self.broken = True

    async def until(self, word: bytes) -> None:
        await eventually(lambda: word in self.raw, within=READ_SECONDS)

    async def rest(self) -> str:
        """Reads to the end; how it ended there: `done`, `stopped`, `failed` or `cut`."""
        assert self.task
        async with asyncio.timeout(READ_SECONDS):
            await self.task
        return "cut" if self.broken else self.door.outcome(self.raw)

    async def hang_up(self) -> None:
        assert self.task
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@contextlib.asynccontextmanager
async def asked(
    client: Client, name: str, chat_id: str, text: str, *, agent: str = "general"
) -> AsyncIterator[Asked]:
    """Asks at this door, and hangs up at the end of the block."""
    door = DOORS[name]
    one = Asked(door)
    path, body = door.path(chat_id, agent), door.body(chat_id, agent, text)
    one.task = asyncio.create_task(one.read(client, path, body, chat_id))
    try:
        yield one
    finally:
        await one.hang_up()


async def run_of(client: Client, chat_id: str) -> str:
    """The id of the run that is listed for this chat, once it is."""

    async def listed() -> str | None:
        runs = (await client.get("/api/v1/runs"))["runs"]
        return next((str(run["run_id"]) for run in runs if run["chat_id"] == chat_id), None)

    return str(await eventually(listed, within=READ_SECONDS))


def frames(raw: bytes) -> list[Frame]:
    """Its server-sent events."""
    return SseParser().feed(raw)


def _of_text(raw: bytes) -> str:
    last = frames(raw)[-1:]
    told = last[0].data if last else ""
    return (
        "failed"
        if told.startswith("[ERROR]")
        else {"[DONE]": "done", "[STOPPED]": "stopped"}.get(told, "cut")
    )


def _of_json(raw: bytes) -> str:
    last = frames(raw)[-1:]
    return str(last[0].json["outcome"]) if last and last[0].event == "end" else "cut"


def _of_plain(raw: bytes) -> str:
    last = raw.decode().rpartition("\n")[2]
    return "failed" if last.startswith("[ERROR] ") else "stopped" if last == "[STOPPED]" else "done"


def _of_whole(raw: bytes) -> str:
    """A whole answer does not tell a stop from an end, but for the older one and that of responses."""
    try:
        told = json.loads(raw)
    except ValueError:
        return "cut"
    return str(told.get("outcome") or _STATUS.get(told.get("status"), "stopped"))


def _of_chunks(raw: bytes) -> str:
    found = frames(raw)
    if not found or found[-1].data != "[DONE]":
        return "cut"
    return "failed" if "error" in found[-2].json else "stopped"  # the one ending that OpenAI has for both


_STATUS = {"completed": "done", "cancelled": "stopped", "failed": "failed", "in_progress": "begun"}


def _of_responses(raw: bytes) -> str:
    last = frames(raw)[-1:]
    return _STATUS.get(last[0].event.removeprefix("response."), "cut") if last else "cut"


def _of_ag_ui(raw: bytes) -> str:
    last = frames(raw)[-1:]
    told = last[0].json if last else {}
    if told.get("type") == "RUN_ERROR":
        return "failed"
    kinds = {"success": "done", "cancelled": "stopped", "interrupt": "asked"}
    return kinds[told["outcome"]["type"]] if told.get("type") == "RUN_FINISHED" else "cut"


def _native(_: str, agent: str, text: str) -> dict[str, Any]:
    return {"message": text, "agent": agent}


def _older(chat_id: str, agent: str, text: str) -> dict[str, Any]:
    return {"message": text, "agent": agent, "conversation_id": chat_id}


def _completions(_: str, agent: str, text: str) -> dict[str, Any]:
    return {"model": agent, "messages": [{"role": "user", "content": text}]}


def _responses(chat_id: str, agent: str, text: str) -> dict[str, Any]:
    return {"model": agent, "input": text, "conversation": chat_id}


def _ag_ui(chat_id: str, _: str, text: str) -> dict[str, Any]:
    messages = [{"id": "1", "role": "user", "content": text}]
    return {"threadId": chat_id, "runId": uuid.uuid4().hex, "messages": messages}


def _with(
    body: Callable[[str, str, str], dict[str, Any]], **more: Any
) -> Callable[[str, str, str], dict[str, Any]]:
    return lambda *about: {**body(*about), **more}


def _at(path: str) -> Callable[[str, str], str]:
    return lambda chat_id, agent: path.format(chat=chat_id, agent=agent)


DOORS = {
    "native, text": Door(_at("/api/v1/chat/{chat}"), _native, _of_text, leaving_ends=False),
    "native, json": Door(_at("/api/v1/chat/{chat}?format=json"), _native, _of_json, leaving_ends=False),
    "older, streamed": Door(_at("/chat"), _with(_older, stream=True), _of_plain),
    "older, whole": Door(_at("/chat"), _older, _of_whole, streams=False),
    "completions, streamed": Door(_at("/v1/chat/completions"), _with(_completions, stream=True), _of_chunks),
    "completions, whole": Door(_at("/v1/chat/completions"), _completions, _of_whole, streams=False),
    "responses, streamed": Door(_at("/v1/responses"), _with(_responses, stream=True), _of_responses),
    "responses, whole": Door(_at("/v1/responses"), _responses, _of_whole, streams=False),
    "responses, background": Door(
        _at("/v1/responses"), _with(_responses, background=True), _of_whole, streams=False, leaving_ends=False
    ),
    "ag-ui": Door(_at("/api/v1/ag-ui/{agent}"), _ag_ui, _of_ag_ui),
}
WHOLE = [name for name, door in DOORS.items() if not door.streams and door.leaving_ends]
