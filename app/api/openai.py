"""OpenAI's chat completions: agents are models, what the client sends is what the model sees.

A run like any other lies under it; a client that hangs up ends it. Clients stumble over `id:` lines
and named events, and try to run what `tool_calls` names: so there are none.
"""

import json
import time
import uuid
from dataclasses import dataclass
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header

from app.agents.wishes import Wishes
from app.api.brought import Brought
from app.api.doors import Lean, chat_id, finish_of, given, known, opened, system_of, tool_line
from app.api.here import Here
from app.api.keys import Owner
from app.api.openai_bodies import Ask, Choice, Completion, Counted, Model, Models, Said
from app.api.problems import answers
from app.api.sse import RunStream
from app.api.whole import Whole, json_answer
from app.chat.question import Question
from app.errors import Unsupported
from app.events import End, Event, Queue, Reasoning, Text, Usage, reply_text
from app.runs.feed import Feed
from app.store.keys import Chat

router = APIRouter(prefix="/v1", tags=["OpenAI"], dependencies=[Depends(opened)], route_class=Lean)


@dataclass(frozen=True, slots=True)
class Kept:
    """The chat that a client names; without `keep` it is one of the run's own. `task`: no person asks."""

    id: str
    keep: bool
    task: bool


async def _place(
    x_chat_id: Annotated[str | None, Header(description="The chat that becomes this conversation")] = None,
    x_openwebui_chat_id: Annotated[str | None, Header()] = None,
    x_conversation_id: Annotated[str | None, Header()] = None,
    x_openwebui_task: Annotated[str | None, Header(description="Nothing is kept, no tool used")] = None,
) -> Kept:
    named, task = x_chat_id or x_openwebui_chat_id or x_conversation_id or "", bool(x_openwebui_task)
    keep = bool(named) and not named.startswith("local:") and not task  # Open WebUI's temporary chats
    return Kept(chat_id(named) if keep else uuid.uuid4().hex, keep, task)


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "The reply", "content": {"text/event-stream": {}}}
}


@router.get("/models", responses=answers())
async def openai_models(here: Here, _: Owner) -> Models:
    """The agents, as OpenAI's clients list models."""
    return Models(data=[_model(one) for one in here.answerer.catalog])


@router.get("/models/{model}", responses=answers(404))
async def openai_model(model: str, here: Here, _: Owner) -> Model:
    """One agent, as a model."""
    return next(one for one in (await openai_models(here, _)).data if one.id == known(here, model))


@router.post(
    "/chat/completions",
    response_model=Completion,
    responses=_STREAM | answers(400, 404, 409, 413, 502, 503),
)
async def chat_completions(ask: Ask, here: Here, of: Owner, place: Annotated[Kept, Depends(_place)]) -> Any:
    """Send a conversation; the reply comes whole, or as OpenAI's chunks with `stream`."""
    _check(ask)
    chat, run_id = Chat(of, place.id), uuid.uuid4().hex
    brought = await Brought.read(((turn.role, turn.content) for turn in ask.messages), here)
    wishes = Wishes(
        system=system_of((one.role, one.content) for one in brought.messages),
        max_tokens=ask.max_completion_tokens or ask.max_tokens,
        temperature=ask.temperature,
        tools=not place.task,
    )
    turns, asked = given(brought.messages)
    agent = known(here, ask.model)
    await brought.put_in(chat, agent, here)
    question = Question(
        asked.content, agent, run_id, "replace", turns=turns, keep=place.keep, wishes=wishes,
        files=tuple(asked.files or ()),
    )  # fmt: skip
    reading = await here.chats.send(chat, question, leaving_ends=True)
    headers = {"X-Run-Id": run_id, "X-Chat-Id": chat.id}
    created = int(time.time())
    if ask.stream:
        counted = bool((ask.stream_options or {}).get("include_usage"))
        chunks = Chunks(reading.feed, ask.model, created, here.settings.base_path, counted=counted)
        return RunStream(
            reading, chunks, "text/event-stream; charset=utf-8", headers,
            hello=chunks.first, heartbeat=chunks.heartbeat,
        )  # fmt: skip
    made = partial(_completion, reading.feed, ask.model, created, here.settings.base_path)
    return Whole(reading, lambda end: json_answer(made(end), headers, whole=False))


class Chunks:
    """The events of a run as chunks; the first is sent before the model is asked."""

    def __init__(self, feed: Feed, model: str, created: int, base: str, *, counted: bool) -> None:
        head = {"id": f"chatcmpl-{feed.run_id}", "object": "chat.completion.chunk"}
        self._head = json.dumps(head | {"created": created, "model": model})[:-1]
        self._feed, self._base = feed, base
        self._counted = counted
        self.first = self._chunk('{"role": "assistant", "content": ""}').encode()
        self.heartbeat = self._chunk("{}").encode()

    def __call__(self, _: str, number: int, event: Event) -> str:
        if type(event) is Text:
            return self._chunk(f'{{"content": {quoted(event.text)}}}')
        if type(event) is End:
            return self._last_chunks(event)
        waits = f"\nWaiting for the model, {event.ahead} ahead.\n" if type(event) is Queue else ""
        thought = waits or _thought(self._feed, number, event, self._base)
        return self._chunk(f'{{"reasoning_content": {quoted(thought)}}}') if thought else ""

    def _chunk(self, delta: str, finish: str = "null") -> str:
        choice = f'{{"index": 0, "delta": {delta}, "finish_reason": {finish}}}'
        return f'data: {self._head}, "choices": [{choice}]}}\n\n'

    def _last_chunks(self, end: End) -> str:
        if end.error:
            error = {"message": end.error.message, "type": "server_error", "param": None}
            told = {"error": error | {"code": end.error.code}}
            return f"data: {json.dumps(told)}\n\ndata: [DONE]\n\n"
        usage = ""
        if self._counted:
            counted = _counted(end.usage).model_dump_json()
            usage = f'data: {self._head}, "choices": [], "usage": {counted}}}\n\n'
        return f"{self._chunk('{}', quoted(finish_of(end)))}{usage}data: [DONE]\n\n"


def _check(ask: Ask) -> None:
    """Raises `Unsupported` for what would change the answer and is not done here."""
    if ask.n not in (None, 1):
        raise Unsupported("Only one choice can be made at a time: n must be 1.", param="n")
    if (ask.response_format or {}).get("type", "text") != "text":
        raise Unsupported("Only text can be answered.", param="response_format")
    if ask.tool_choice not in (None, "auto", "none"):
        raise Unsupported(
            "The tools here are those of the agent: they cannot be chosen.", param="tool_choice"
        )


def _model(agent: Any) -> Model:
    return Model(id=agent.name, name=agent.name, description=agent.description)


def _counted(usage: Usage) -> Counted:
    asked, said = usage.input_tokens, usage.output_tokens
    return Counted(prompt_tokens=asked, completion_tokens=said, total_tokens=asked + said)


def _thought(feed: Feed, number: int, event: Event, base: str) -> str:
    return event.text if type(event) is Reasoning else tool_line(feed, number, event, base)


def _completion(feed: Feed, model: str, created: int, base: str, end: End) -> Completion:
    thoughts = (_thought(feed, number, event, base) for number, event in enumerate(feed.events, 1))
    said = Said(content=reply_text(feed.events), reasoning_content="".join(thoughts).strip() or None)
    choice = Choice(message=said, finish_reason=finish_of(end))
    return Completion(
        id=f"chatcmpl-{feed.run_id}",
        created=created,
        model=model,
        choices=[choice],
        usage=_counted(end.usage),
    )
