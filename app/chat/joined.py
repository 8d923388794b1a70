"""A reply and what went on with it, as one message. Pure."""

from dataclasses import replace
from typing import Any

from app.chat.parts import Part, fitted
from app.store.records import Message

GO_ON = "Go on exactly where your last message breaks off: no introduction, nothing repeated."


def joined(before: Message, more: Message) -> Message:
    """The one message: their texts and steps behind each other, what they used added up."""
    parts = None
    if before.parts or more.parts:
        parts = fitted(_behind(_steps(before), _steps(more)))
    return replace(
        more,
        content=before.content + more.content,
        parts=parts,
        facts=_facts(before.facts or {}, more.facts or {}),
    )


def to_go_on(history: list[Message]) -> list[Message]:
    """What the model is asked when the last reply is to go on; one that said nothing is asked for anew."""
    if history and history[-1].content.strip():
        return [*history, Message("user", GO_ON)]
    return history[:-1]


def _steps(message: Message) -> list[Part]:
    return message.parts or ([{"type": "text", "text": message.content}] if message.content else [])


def _behind(first: list[Part], second: list[Part]) -> list[Part]:
    if first and second and first[-1]["type"] == second[0]["type"] == "text":
        seam = {"type": "text", "text": first[-1]["text"] + second[0]["text"]}
        return [*first[:-1], seam, *second[1:]]
    return [*first, *second]


def _facts(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    told = new | {"continued": old.get("continued", 0) + 1}
    told["duration_ms"] = old.get("duration_ms", 0) + new.get("duration_ms", 0)
    if (first := old.get("first_token_ms")) is not None:
        told["first_token_ms"] = first
    used, more = old.get("usage") or {}, new.get("usage") or {}
    told["usage"] = {
        "input_tokens": used.get("input_tokens", 0) + more.get("input_tokens", 0),
        "output_tokens": used.get("output_tokens", 0) + more.get("output_tokens", 0),
        "exact": bool(used.get("exact", True) and more.get("exact", False)),
    }
    return told
