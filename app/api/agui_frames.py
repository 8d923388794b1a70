"""The events of a run as AG-UI's, written by hand and checked against its package in the tests."""

import json
from dataclasses import asdict
from typing import Any

from app.api.doors import ASSISTANT
from app.events import OPEN, End, Event, Queue, Reasoning, Start, Text, Tool
from app.runs.feed import Feed

PROTOCOL = "1.0"
ANSWER = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "for": {"enum": ["once", "chat"]}},
    "required": ["approved"],
}


class AgUi:
    """The events of a run as AG-UI's; the id of ours stands at the last of those that it becomes.

    Text behind a tool or a thought is a message of its own, so that a page can put them in order. Where
    a person is asked its run is over, and goes on as another one (`named`) with the answer. A call in
    which an agent works for another one is a subagent, begun by its first step.
    """

    def __init__(self, feed: Feed, named: str = "") -> None:
        self._feed = feed
        self._named = named or feed.run_id
        self.interrupted = False
        self._taken = 0
        self._last: type[Event] | None = None
        self._texts = self._thoughts = 0
        self._asked: set[str] = set()  # calls that were told when a person was asked
        self._calls: dict[str, Tool] = {}  # as they began, by their id
        self._helping: list[str] = []  # calls in which an agent works for another, the outer ones first
        self._helped: set[str] = set()  # those that are over

    def __call__(self, run_id: str, number: int, event: Event) -> str:
        for passed in self._feed.events[self._taken : number - 1]:
            self._pass(passed)
        if not self._taken and self._named != self._feed.run_id:
            self._helping = []  # they were begun in the run before
        self._taken = number
        told = self._subagents(event)
        self._pass(event)
        told = [] if self.interrupted else [*told, *self._told_event(event)]
        if type(event) is Tool and self._waits(event, number) and told:
            self.interrupted = True
            told += [self._suspended(one, event) for one in self._helping[::-1]]
            told.append(self._run_over({"type": "interrupt", "interrupts": [_interrupt(event)]}))
        frames = [f"data: {json.dumps(one)}\n\n" for one in told]
        return "".join([*frames[:-1], f"id: {run_id}:{number}\n{frames[-1]}"]) if frames else ""

    def opening(self, start: Start) -> dict[str, Any]:
        """How a run begins."""
        run = {"threadId": start.chat_id, "runId": self._named}
        return {"type": "RUN_STARTED", **run, "protocolVersion": PROTOCOL}

    def _waits(self, call: Tool, number: int) -> bool:
        """Whether a person is asked about this call, as far as is known now."""
        later = (one for one in self._feed.events[number:] if type(one) is Tool)
        return call.status == "asked" and all(one.tool_use_id != call.tool_use_id for one in later)

    def _run_over(self, outcome: dict[str, Any]) -> dict[str, Any]:
        run = {"threadId": self._feed.chat_id, "runId": self._named}
        return {"type": "RUN_FINISHED", **run, "outcome": outcome}

    def _pass(self, event: Event) -> None:
        kind = type(event)
        if type(event) is Tool:
            self._pass_call(event)
        self._texts += kind is Text and self._last is not Text
        self._thoughts += kind is Reasoning and self._last is not Reasoning
        self._last = kind

    def _pass_call(self, call: Tool) -> None:
        if call.status in OPEN:
            self._calls[call.tool_use_id] = call
        if call.status == "asked":
            self._asked.add(call.tool_use_id)
        if call.parent and self._is_new(call.parent):
            self._helping.append(call.parent)
        if call.status not in OPEN and call.tool_use_id in self._helping:
            self._helping.remove(call.tool_use_id)
            self._helped.add(call.tool_use_id)

    def _is_new(self, helper: str) -> bool:
        return helper not in self._helping and helper not in self._helped

    def _subagents(self, event: Event) -> list[dict[str, Any]]:
        """The subagent that begins with this event, or ends."""
        if type(event) is not Tool:
            return []
        if event.parent and self._is_new(event.parent):
            begun = self._calls.get(event.parent)
            whose = {"subagentRunId": event.parent, "parentToolCallId": event.parent}
            return [{"type": "SUBAGENT_STARTED", "name": begun.name if begun else "agent", **whose}]
        if event.status in OPEN or event.tool_use_id not in self._helping:
            return []
        over = {"subagentRunId": event.tool_use_id}
        if event.status == "done":
            return [{"type": "SUBAGENT_FINISHED", **over}]
        return [{"type": "SUBAGENT_ERROR", **over, "message": str(event.output or event.status)}]

    def _suspended(self, helping: str, call: Tool) -> dict[str, Any]:
        own = {"interruptIds": [call.tool_use_id]} if helping == call.parent else {}
        outcome = {"type": "suspended", **own}
        return {"type": "SUBAGENT_FINISHED", "subagentRunId": helping, "outcome": outcome}

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
                value = {"backend": event.backend, "model": event.model}
                return [self.opening(event), {"type": "CUSTOM", "name": "chat.run", "value": value}]
            case Queue():
                shown = {"messageId": f"{run_id}-line", "activityType": "QUEUE", "content": asdict(event)}
                return [{"type": "ACTIVITY_SNAPSHOT", **shown}]
            case Tool(status="running") if event.tool_use_id in self._asked:
                return []
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
        return self._run_over(outcome) | {"usage": usage}


def _tool(event: Tool) -> list[dict[str, Any]]:
    """A call whole at once: none is left open where the run ends inside a tool."""
    call = {"toolCallId": event.tool_use_id, **({"subagentRunId": event.parent} if event.parent else {})}
    if event.status in OPEN:
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


def _interrupt(call: Tool) -> dict[str, Any]:
    """What is asked of a person; answered by the id of the call."""
    used = call.tool_use_id
    told = {"message": f"May {call.name} be carried out?", "toolCallId": used, "responseSchema": ANSWER}
    return {"id": used, "reason": "tool_call", **told}
