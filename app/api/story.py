"""What a response of OpenAI's says, as the events of its run tell it.

The events of a response follow from those of its run alone: event n becomes those with the sequence
numbers n * 16 + k. So they are the same for every reader, on every backend, at every time.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from app.api.doors import asked_line, call_line, finish_of
from app.api.openai_bodies import ResponseBody
from app.events import End, Event, Queue, Reasoning, Start, Text, Tool, Usage
from app.runs.feed import Feed

STEP = 16  # more than one event of a run can become
KINDS = {"message": ("msg", "output_text"), "reasoning": ("rs", "reasoning_text")}
ENDED = {"done": "completed", "stopped": "cancelled", "failed": "failed"}


class Story:
    """What a response says, as the events of its run tell it: its items, and OpenAI's events for each."""

    def __init__(self, run_id: str, record: dict[str, Any], base: str) -> None:
        self._run_id = run_id
        self._record, self._base = record, base
        self._items: list[dict[str, Any]] = []
        self._kind = ""
        self._said: list[str] = []
        self._asked: dict[str, Any] = {}
        self._end: End | None = None
        self._taken = 0
        self.status = "in_progress"

    @property
    def empty(self) -> bool:
        """Whether nothing has been taken yet."""
        return not self._taken

    def all(self, events: Iterable[Event]) -> None:
        """Takes all these events."""
        for event in events:
            self.tell(event)

    def tell(self, event: Event) -> list[dict[str, Any]]:
        """The events of the response that this event of its run becomes."""
        self._taken += 1
        if type(event) is End:
            return self._over(event)
        return [*self._moves("queued" if type(event) is Queue else "in_progress"), *self._become(event)]

    def _moves(self, status: str) -> Iterator[dict[str, Any]]:
        """Waits before a busy model, or does so no more."""
        if status != self.status:
            self.status = status
            yield self._told_end(status)

    def _become(self, event: Event) -> list[dict[str, Any]]:
        match event:
            case Start():
                return [self._told_end("created"), self._told_end("in_progress")]
            case Text(text):
                return self._say_in_full("message", text)
            case Reasoning(text):
                return self._say_in_full("reasoning", text)
            case Tool(status="asked"):
                self._asked[event.tool_use_id] = event.input
                return self._say_in_full("reasoning", asked_line(self._record["chat_id"], event, self._base))
            case Tool(status="running"):
                self._asked[event.tool_use_id] = event.input
            case Tool():
                return self._say_in_full("reasoning", call_line(event, self._asked.get(event.tool_use_id)))
        return []

    def frames(self, feed: Feed, number: int, seen: int) -> str:
        """Event `number` of the run as frames, without those up to sequence number `seen`."""
        self.all(feed.events[self._taken : number - 1])
        if number <= self._taken:  # the log of a lost backend ends earlier than its reader had seen
            return ""
        found = enumerate(self.tell(feed.events[number - 1]), number * STEP)
        return "".join(
            f"event: {one['type']}\ndata: {json.dumps(one | {'sequence_number': sequence})}\n\n"
            for sequence, one in found
            if sequence > seen
        )

    def as_body(self) -> ResponseBody:
        """The response as it is now."""
        end, record = self._end, self._record
        told: dict[str, Any] = {"status": self.status, "output": [*self._items]}
        if self._kind:
            told["output"].append(self._item("in_progress", "".join(self._said)))
        if end:
            told["usage"] = _usage(end.usage)
        if end and end.error:
            told["error"] = {"code": end.error.code, "message": end.error.message}
        if self.status == "incomplete" and end:
            reason = "max_output_tokens" if finish_of(end) == "length" else "content_filter"
            told["incomplete_details"] = {"reason": reason}
        known_of = {name: value for name, value in record.items() if name != "chat_id"}
        return ResponseBody(id=f"resp_{self._run_id}", **known_of, **told)

    def _say_in_full(self, kind: str, text: str) -> list[dict[str, Any]]:
        told = [] if kind == self._kind else [*self._close("completed"), *self._open(kind)]
        self._said.append(text)
        more: dict[str, Any] = {"delta": text, **({"logprobs": []} if kind == "message" else {})}
        return [*told, self._part("{}.delta", more)]

    def _open(self, kind: str) -> Iterator[dict[str, Any]]:
        self._kind = kind
        item = {**self._item("in_progress", ""), "content": []}
        yield {"type": "response.output_item.added", "output_index": len(self._items), "item": item}
        yield self._part("content_part.added", {"part": self._content("")})

    def _close(self, status: str) -> Iterator[dict[str, Any]]:
        if not self._kind:
            return
        text = "".join(self._said)
        more: dict[str, Any] = {"text": text} | ({"logprobs": []} if self._kind == "message" else {})
        yield self._part("{}.done", more)
        yield self._part("content_part.done", {"part": self._content(text)})
        item = self._item(status, text)
        yield {"type": "response.output_item.done", "output_index": len(self._items), "item": item}
        self._items.append(item)
        self._kind, self._said = "", []

    def _over(self, end: End) -> list[dict[str, Any]]:
        self._end = end
        cut = end.outcome == "done" and finish_of(end) != "stop"
        closing = [*self._close("incomplete" if cut or end.outcome != "done" else "completed")]
        self.status = "incomplete" if cut else ENDED[end.outcome]
        return [*closing, self._told_end(self.status)]

    def _told_end(self, kind: str) -> dict[str, Any]:
        return {"type": f"response.{kind}", "response": self.as_body().model_dump()}

    def _part(self, kind: str, more: dict[str, Any]) -> dict[str, Any]:
        place = {"item_id": self._id, "output_index": len(self._items), "content_index": 0}
        return {"type": f"response.{kind.format(KINDS[self._kind][1])}", **place, **more}

    @property
    def _id(self) -> str:
        return f"{KINDS[self._kind][0]}_{self._run_id}_{len(self._items)}"

    def _content(self, text: str) -> dict[str, Any]:
        more: dict[str, Any] = {"annotations": [], "logprobs": []} if self._kind == "message" else {}
        return {"type": KINDS[self._kind][1], "text": text, **more}

    def _item(self, status: str, text: str) -> dict[str, Any]:
        item = {"id": self._id, "type": self._kind, "status": status, "content": [self._content(text)]}
        more: dict[str, Any] = {"role": "assistant"} if self._kind == "message" else {"summary": []}
        return item | more


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
