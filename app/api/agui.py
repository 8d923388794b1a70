"""AG-UI 1.0: its runs are ours (`runId`), its threads our chats, which become the conversation that
is sent.

What comes in is read by the protocol's package, what goes out is written by hand and checked
against it in the tests. Its own client's only stop is to hang up.
"""

import json
from typing import Annotated, Any

from ag_ui.core import Message, RunAgentInput
from fastapi import APIRouter, Path, Response
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from app.agents.wishes import Wishes
from app.api.bodies.fields import AgentName, ChatId, RunId
from app.api.doors import ASSISTANT, given, system_of
from app.api.here import Here
from app.api.keys import Owner
from app.api.problems import answers
from app.api.sse import RunStream
from app.chat.question import Question
from app.errors import Unsupported
from app.events import End, Event, Reasoning, Start, Text, Tool
from app.runs.feed import Feed
from app.store.keys import Chat

PROTOCOL = "1.0"

router = APIRouter(prefix="/api/v1", tags=["AG-UI"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "AG-UI events", "content": {"text/event-stream": {}}}
}


@router.post(
    "/ag-ui/{agent}",
    response_class=Response,
    responses=_STREAM | answers(400, 409, 413, 503),
)
async def ag_ui(
    agent: Annotated[AgentName, Path(examples=["general"])], ask: RunAgentInput, here: Here, of: Owner
) -> Response:
    """Run an agent on an AG-UI conversation; a repeated runId attaches to the first run."""
    chat_id = _valid(ChatId, ask.thread_id, "threadId")
    run_id = _valid(RunId, ask.run_id, "runId")
    if ask.resume:
        raise _invalid("resume", "Nothing waits here to be resumed")
    turns, text = given(_spoken(ask.messages))
    context = "\n\n".join(f"{one.description}: {one.value}" for one in ask.context or ())
    spoken = [(one.role, _words(one)) for one in ask.messages if one.role in ("system", "developer")]
    wishes = Wishes(system_of([*spoken, ("system", context)]))
    question = Question(text, agent, run_id, "replace", turns=turns, wishes=wishes)
    props = ask.forwarded_props if isinstance(ask.forwarded_props, dict) else {}
    leaving_ends = props.get("onDisconnect") != "continue"
    reading = await here.chats.send(Chat(of, chat_id), question, leaving_ends=leaving_ends)
    headers = {"X-Run-Id": run_id, "X-Chat-Id": chat_id}
    return RunStream(reading, AgUi(reading.feed), "text/event-stream; charset=utf-8", headers)


class AgUi:
    """The events of a run as AG-UI's; the id of ours stands at the last of those that it becomes.

    Text behind a tool or a thought is a message of its own, so that a page can put them in order.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._taken = 0
        self._last: type[Event] | None = None
        self._texts = self._thoughts = 0

    def __call__(self, run_id: str, number: int, event: Event) -> str:
        for passed in self._feed.events[self._taken : number - 1]:
            self._pass(passed)
        self._taken = number
        self._pass(event)
        frames = [f"data: {json.dumps(one)}\n\n" for one in self._told_event(event)]
        return "".join([*frames[:-1], f"id: {run_id}:{number}\n{frames[-1]}"]) if frames else ""

    def _pass(self, event: Event) -> None:
        kind = type(event)
        self._texts += kind is Text and self._last is not Text
        self._thoughts += kind is Reasoning and self._last is not Reasoning
        self._last = kind

    def _told_event(self, event: Event) -> list[dict[str, Any]]:
        run_id = self._feed.run_id
        match event:
            case Text(text):
                name = run_id if self._texts == 1 else f"{run_id}-{self._texts}"
                chunk = {"messageId": name, "role": ASSISTANT, "delta": text}
                return [{"type": "TEXT_MESSAGE_CHUNK", **chunk}]
            case Reasoning(text):
                chunk = {"messageId": f"{run_id}-r{self._thoughts}", "delta": text}
                return [{"type": "REASONING_MESSAGE_CHUNK", **chunk}]
            case Start():
                run = {"threadId": event.chat_id, "runId": run_id, "protocolVersion": PROTOCOL}
                value = {"backend": event.backend, "model": event.model}
                return [
                    {"type": "RUN_STARTED", **run}, {"type": "CUSTOM", "name": "chat.run", "value": value},
                ]  # fmt: skip
            case Tool():
                return _tool(event)
            case End():
                return [self._run_finished(event)]
        return []

    def _run_finished(self, end: End) -> dict[str, Any]:
        asked, said = end.usage.input_tokens, end.usage.output_tokens
        start = self._feed.events[0]
        made = {"provider": start.provider, "model": start.model} if isinstance(start, Start) else {}
        counted = {"inputTokens": asked, "outputTokens": said, "totalTokens": asked + said}
        usage = [made | counted]
        if end.error:
            return {
                "type": "RUN_ERROR", "message": end.error.message, "code": end.error.code, "usage": usage,
            }  # fmt: skip
        outcome = {"type": "success" if end.outcome == "done" else "cancelled"}
        run = {"threadId": self._feed.chat_id, "runId": self._feed.run_id}
        return {"type": "RUN_FINISHED", **run, "outcome": outcome, "usage": usage}


def _tool(event: Tool) -> list[dict[str, Any]]:
    """A call whole at once: none is left open where the run ends inside a tool."""
    call = {"toolCallId": event.tool_use_id}
    if event.status == "running":
        asked = event.input if isinstance(event.input, str) else json.dumps(event.input or {})
        return [
            {"type": "TOOL_CALL_START", **call, "toolCallName": event.name},
            {"type": "TOOL_CALL_ARGS", **call, "delta": asked},
            {"type": "TOOL_CALL_END", **call},
        ]
    output = event.output if isinstance(event.output, str) else json.dumps(event.output)
    content = output if event.output is not None else event.status
    result = {"messageId": f"{event.tool_use_id}-result", "content": content, "role": "tool"}
    return [{"type": "TOOL_CALL_RESULT", **call, **result}]


def _spoken(messages: list[Message]) -> list[tuple[str, str]]:
    """What was said; the messages of one reply, which tools and thoughts part, are one again."""
    turns: list[tuple[str, str]] = []
    for one in messages:
        if one.role in ("user", ASSISTANT):
            text = _words(one)
            joins = turns and one.role == ASSISTANT == turns[-1][0]
            turns[-1 if joins else len(turns) :] = [(one.role, turns[-1][1] + text if joins else text)]
    return turns


def _words(message: Message) -> str:
    content: Any = message.content
    if isinstance(content, list):
        if any(getattr(part, "text", None) is None for part in content):
            raise Unsupported("Only text is read here.", param="messages")
        return "\n\n".join(part.text for part in content)
    return content or ""


def _valid(kind: Any, value: str, name: str) -> str:
    try:
        return str(TypeAdapter(kind).validate_python(value))
    except ValidationError as error:
        raise _invalid(name, error.errors()[0]["msg"]) from None


def _invalid(name: str, told: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", name), "msg": told, "type": "value_error"}])
