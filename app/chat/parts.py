"""The steps of a reply as they are kept: text, thinking and tools, put together from its events. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from app.events import OPEN, Event, Outcome, Reasoning, Text, Tool

MOST_BYTES = 64 * 1024
CAPS = (16_000, 8000, 4000, 2000, 1000, 500, 200, 50)

Part = dict[str, Any]
Times = Mapping[int, float]
Numbered = tuple[int, Event]


def parts_of(events: Sequence[Event], outcome: Outcome, times: Times) -> list[Part] | None:
    """The steps of a reply that ended so; None where there is only text.

    `times`: seconds at which events came, by their index, in order: of tools, where the kind
    changes, and of the end. Without them no step tells how long it took. A tool that still ran, or
    waited for a person, is `stopped`, or `failed`.
    """
    steps = [pair for pair in enumerate(events) if isinstance(pair[1], Text | Reasoning | Tool)]
    if all(type(event) is Text for _, event in steps):
        return None
    found: list[Part] = []
    calls: dict[str, tuple[int, Part]] = {}
    for kind, group in groupby(steps, lambda pair: type(pair[1])):
        if kind is Tool:
            _take_calls(group, found, calls, times)
        else:
            found.append(_spoken(list(group), times))
    for began, part in calls.values():
        if part["status"] in OPEN:
            if part["status"] == "running":
                part["seconds"] = _seconds(times, began, max(times, default=None))
            part["status"] = "stopped" if outcome == "stopped" else "failed"
    return fitted(found)


def fitted(found: list[Part]) -> list[Part]:
    """At most 64 KB of JSON: what tools and thinking say is cut first, text last."""
    for kinds in (("reasoning", "tool"), ("reasoning", "tool", "text")):
        for most in CAPS:
            if len(json.dumps(found)) <= MOST_BYTES:
                return found
            found = [_cut(part, most) if part["type"] in kinds else part for part in found]
    while len(json.dumps(found)) > MOST_BYTES:
        found = found[: len(found) * 9 // 10]
    return found


def _spoken(numbered: list[Numbered], times: Times) -> Part:
    text = "".join(event.text for _, event in numbered if isinstance(event, Text | Reasoning))
    if type(numbered[0][1]) is Text:
        return {"type": "text", "text": text}
    last = numbered[-1][0]
    seconds = _seconds(times, numbered[0][0], next((at for at in times if at > last), None))
    return {"type": "reasoning", "text": text, "seconds": seconds}


def _take_calls(
    numbered: Iterable[tuple[int, Any]], found: list[Part], calls: dict[str, tuple[int, Part]], times: Times
) -> None:
    for at, event in numbered:
        began, part = calls.get(event.tool_use_id, (at, {}))
        if not part or (event.status in OPEN and part["status"] != "asked"):
            part = {"type": "tool", "tool_use_id": event.tool_use_id, "name": event.name}
            part |= {"status": event.status, "input": event.input, "output": event.output, "seconds": None}
            part |= {"parent": event.parent} if event.parent else {}
            calls[event.tool_use_id] = (at, part)
            found.append(part)
        elif event.status == "running":  # how long a person thought is not the tool's time
            part["status"] = event.status
            calls[event.tool_use_id] = (at, part)
        else:
            if part["status"] == "running":
                ended = at if at in times else max(times, default=None)
                part["seconds"] = _seconds(times, began, ended)
            part["status"], part["output"] = event.status, event.output


def _cut(part: Part, most: int) -> Part:
    """This step with nothing longer than so many characters in it."""
    return {
        key: _shortened(value, most) if key in ("text", "input", "output") else value
        for key, value in part.items()
    }


def _shortened(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return value[:most]
    written = json.dumps(value)
    return written[:most] if len(written) > most else value


def _seconds(times: Times, began: int, ended: int | None) -> float | None:
    if ended is None or began not in times:
        return None
    return round(max(0.0, times[ended] - times[began]), 2)
