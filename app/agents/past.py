"""What was said before, as Strands takes it: tool calls of earlier replies beside their results. Pure."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, cast

from strands.types.content import Messages

from app.agents.calls import as_json
from app.agents.shown import NONE, Shown, in_front, pictures

Turn = tuple[str, str]
Steps = Sequence[dict[str, Any]]


def messages(
    turns: Sequence[Turn], calls: Mapping[int, Steps], files: Mapping[int, Sequence[Shown]] = NONE
) -> Messages:
    """Strictly alternating messages; `calls` are the steps of those turns that used tools, `files`
    what turns show, by index.
    """
    found: list[dict[str, Any]] = []
    for at, (role, text) in enumerate(turns):
        shown = files.get(at, ())
        words = {"text": in_front(shown, text)}
        found += _with_calls(calls[at]) if at in calls else [_message(role, *pictures(shown), words)]
    return cast(Messages, found)


def whole_calls(steps: Steps | None) -> list[dict[str, Any]]:
    """The steps that a model can be shown again: text, and calls that came to an end and are an
    object.

    Nothing where no call is followed by text: a result must not be the last word of a reply.
    """
    kept = [step for step in steps or () if _whole(step)]
    while kept and kept[-1]["type"] == "tool":
        kept.pop()
    return kept if any(step["type"] == "tool" for step in kept) else []


def _whole(step: dict[str, Any]) -> bool:
    if step["type"] == "text":
        return bool(step["text"].strip())
    return (
        step["type"] == "tool"
        and step["status"] != "stopped"
        and "parent" not in step
        and isinstance(step["input"], dict)
    )


def _with_calls(steps: Steps) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for kind, group in groupby(steps, lambda step: step["type"]):
        if kind == "text":
            said = [{"text": "".join(step["text"] for step in group).strip("\n")}]
            continue
        used = list(group)
        found.append(_message("assistant", *said, *(_use(step) for step in used)))
        found.append(_message("user", *(_result(step) for step in used)))
        said = []
    return [*found, _message("assistant", *said)]


def _use(step: dict[str, Any]) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": step["tool_use_id"], "name": step["name"], "input": step["input"]}}


def _result(step: dict[str, Any]) -> dict[str, Any]:
    output = step["output"]
    text = output if isinstance(output, str) else as_json(output)
    status = "success" if step["status"] == "done" else "error"
    return {"toolResult": {"toolUseId": step["tool_use_id"], "status": status, "content": [{"text": text}]}}


def _message(role: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(content)}
