"""OpenAI's responses: the standard that knows stop and resume. A response is a run: `resp_<run id>`."""

import contextlib
import time
import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from app.agents.wishes import Wishes
from app.api.brought import Brought, Content
from app.api.doors import Lean, given, known, opened, system_of
from app.api.here import Here
from app.api.keys import Owner
from app.api.openai_bodies import Create, Forgotten, ResponseBody
from app.api.problems import answers
from app.api.runs import live_runs
from app.api.sse import RunStream
from app.api.story import STEP, Story
from app.api.whole import Whole, json_answer
from app.backend import Backend
from app.chat.question import Question
from app.errors import NotFound, Unsupported
from app.events import End, Event, Failure, Text, Usage
from app.runs.readers import Reading
from app.store.keys import Chat
from app.store.records import Message

router = APIRouter(prefix="/v1", tags=["OpenAI"], dependencies=[Depends(opened)], route_class=Lean)


RunOf = Annotated[str, Path(pattern=r"^resp_[A-Za-z0-9_-]{8,64}$", examples=["resp_…"])]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "The response", "content": {"text/event-stream": {}}}
}


@router.post(
    "/responses",
    response_model=ResponseBody,
    responses=_STREAM | answers(400, 404, 409, 413, 502, 503),
)
async def create_response(ask: Create, here: Here, of: Owner) -> Any:
    """Ask for a response: whole, as a stream, or in the background."""
    _check(ask)
    run_id, agent = uuid.uuid4().hex, known(here, ask.model)
    chat, question = await _question(ask, agent, run_id, here, of)
    record = _record(ask, chat)
    if question.keep:
        await here.store.responses.note(of, run_id, record)
    reading = await here.chats.send(chat, question, leaving_ends=not ask.background)
    headers = {"X-Run-Id": run_id, "X-Chat-Id": chat.id}
    story = Story(run_id, record, here.settings.base_path)
    if ask.stream:
        return _stream(reading, story, headers)
    if ask.background:
        reading.close()
        return json_answer(story.as_body(), headers)

    def made(_: End) -> Response:
        story.all(reading.feed.events)
        return json_answer(story.as_body(), headers)

    return Whole(reading, made)


@router.get("/responses/{response_id}", response_model=ResponseBody, responses=_STREAM | answers(404, 503))
async def read_response(
    response_id: RunOf,
    here: Here,
    of: Owner,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0, description="Go on behind this event")] = None,
) -> Any:
    """A response and what it says so far; with `stream` what comes behind `starting_after`."""
    run_id, chat, record = await _noted(response_id, here, of)
    if not stream:
        told = await _so_far(here, chat, run_id, record)
        return json_answer(told.as_body(), {"X-Chat-Id": chat.id})
    seen = max(0, (starting_after or 0) // STEP - 1)
    reading = await here.readers.attach(chat, f"{run_id}:{seen}", only=True)
    if seen and reading is None:  # beyond its end: told that nothing follows
        reading = await here.readers.attach(chat, f"{run_id}:0", only=True)
    if reading is None:
        raise NotFound("The events of this response are no longer kept; ask for it without stream.")
    headers = {"X-Run-Id": run_id, "X-Chat-Id": chat.id}
    return _stream(reading, Story(run_id, record, here.settings.base_path), headers, starting_after or 0)


@router.post("/responses/{response_id}/cancel", responses=answers(404, 503))
async def cancel_response(response_id: RunOf, here: Here, of: Owner) -> ResponseBody:
    """Stop a response, wherever it is made; again, it tells the same."""
    run_id, chat, record = await _noted(response_id, here, of)
    await here.stopping.stop_and_wait(chat, run_id)
    return (await _so_far(here, chat, run_id, record)).as_body()


@router.delete("/responses/{response_id}", responses=answers(404, 503))
async def delete_response(response_id: RunOf, here: Here, of: Owner) -> Forgotten:
    """Forget a response, and its chat where nothing else is in it."""
    run_id, chat, record = await _noted(response_id, here, of)
    live = (await here.store.memory.state(chat)).live
    if live and live.run_id == run_id:
        await here.stopping.stop_and_wait(chat, run_id)
    messages = (await here.store.memory.read(chat)).messages
    if not record["conversation"] and all(one.run_id in (run_id, None) for one in messages):
        with contextlib.suppress(NotFound):
            await here.chats.delete(chat)
    await here.store.responses.drop(of, run_id)
    return Forgotten(id=response_id)


def _stream(reading: Reading, story: Story, headers: dict[str, str], seen: int = 0) -> RunStream:
    def frame(_: str, number: int, __: Event) -> str:
        return story.frames(reading.feed, number, seen)

    return RunStream(reading, frame, "text/event-stream; charset=utf-8", headers)


def _check(ask: Create) -> None:
    """Raises `Unsupported` for what would change the answer and is not done here."""
    kind = ((ask.text or {}).get("format") or {}).get("type", "text")
    if kind != "text":
        raise Unsupported("Only text can be answered.", param="text.format")
    if ask.tool_choice not in (None, "auto", "none"):
        raise Unsupported(
            "The tools here are those of the agent: they cannot be chosen.", param="tool_choice"
        )
    if ask.background and ask.store is False:
        raise Unsupported("What goes on in the background must be stored.", param="background")
    if ask.conversation and ask.previous_response_id:
        raise Unsupported("Name a conversation or a previous response, not both.", param="conversation")


async def _question(ask: Create, agent: str, run_id: str, here: Backend, of: str) -> tuple[Chat, Question]:
    """The chat that a response belongs to, and the question that it answers."""
    items: list[tuple[str, Content]] = [("user", ask.input)] if isinstance(ask.input, str) else [
        (item.role or "", item.content) for item in ask.input if item.role
    ]  # fmt: skip
    said = await Brought.read(items, here)
    keep = ask.store is not False
    place, earlier = await _before(ask, here, of)
    chat = Chat(of, (place if keep else "") or uuid.uuid4().hex)
    turns, asked = given(said.messages)
    brought: tuple[Message, ...] | None = (*earlier, *turns)
    if not turns and asked.content and (chat.id == place or not earlier):
        brought = None  # the memory of the chat is enough
    await said.put_in(chat, agent, here)
    spoken = ((one.role, one.content) for one in said.messages)
    instructions = [("system", ask.instructions or ""), *spoken]
    wishes = Wishes(system_of(instructions), ask.max_output_tokens, ask.temperature)
    question = Question(
        asked.content, agent, run_id, turns=brought, keep=keep, alone=bool(ask.background), wishes=wishes,
        files=tuple(asked.files or ()),
    )  # fmt: skip
    return chat, question


async def _before(ask: Create, here: Backend, of: str) -> tuple[str, list[Message]]:
    """The chat in which a response goes on (empty: a new one), and what was said before it."""
    if ask.conversation:
        place = ask.conversation if isinstance(ask.conversation, str) else ask.conversation.id
        return place, _said((await here.store.memory.read(Chat(of, place))).messages)
    if not ask.previous_response_id:
        return "", []
    run_id, chat, _ = await _noted(ask.previous_response_id, here, of)
    messages = (await here.store.memory.read(chat)).messages
    last = next((n for n, one in enumerate(messages, 1) if one.run_id == run_id and one.outcome), None)
    if last is None or last == len(messages):
        return chat.id, _said(messages)
    return "", _said(messages[:last])  # a branch


def _said(messages: list[Message]) -> list[Message]:
    return [Message(one.role, one.content, files=one.files) for one in messages if one.content.strip()]


def _record(ask: Create, chat: Chat) -> dict[str, Any]:
    return {
        "chat_id": chat.id,
        "created_at": int(time.time()),
        "background": bool(ask.background),
        "conversation": {"id": chat.id} if ask.conversation else None,
        "instructions": ask.instructions,
        "max_output_tokens": ask.max_output_tokens,
        "metadata": ask.metadata or {},
        "model": ask.model,
        "previous_response_id": ask.previous_response_id,
        "store": ask.store is not False,
        "temperature": ask.temperature,
    }


async def _noted(response_id: str, here: Backend, of: str) -> tuple[str, Chat, dict[str, Any]]:
    """The run, the chat and the record of a response. Raises `NotFound`."""
    run_id = response_id.removeprefix("resp_")
    record = await here.store.responses.noted(of, run_id) or await _of_another_door(here, of, run_id)
    return run_id, Chat(of, record["chat_id"]), record


async def _of_another_door(here: Backend, of: str, run_id: str) -> dict[str, Any]:
    """A run that goes on is a response too, wherever it was begun: from now on, as long as its chat lives."""
    run = next((run for run in await live_runs(here, of) if run.run_id == run_id), None)
    if run is None:
        raise NotFound("There is no such response, or it is no longer kept.")
    record = _record(Create(model=run.agent, input="", conversation=run.chat_id), Chat(of, run.chat_id))
    record["created_at"] = int(datetime.fromisoformat(run.started_at).timestamp())
    await here.store.responses.note(of, run_id, record)
    return record


async def _so_far(here: Backend, chat: Chat, run_id: str, record: dict[str, Any]) -> Story:
    """What a response says so far: as its log tells it, else as the chat remembers it."""
    story = Story(run_id, record, here.settings.base_path)
    story.all(await here.store.log.read(chat, run_id))
    if story.empty:
        state = await here.store.memory.read(chat)
        replies = [one for one in state.messages if one.run_id == run_id and one.outcome]
        if replies:
            story.all(_remembered(replies[-1]))
        elif not (state.live and state.live.run_id == run_id):
            raise NotFound("This response is no longer kept.")
    return story


def _remembered(reply: Message) -> list[Event]:
    facts = reply.facts or {}
    usage = Usage(**facts["usage"]) if "usage" in facts else Usage(0, 0, False)
    failed = facts.get("error")
    error = Failure(failed["code"], failed["message"]) if failed else None
    end = End(reply.outcome or "done", str(facts.get("stop_reason", "")), usage, 0, error=error)
    return [Text(reply.content), end] if reply.content else [end]
