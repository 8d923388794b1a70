"""The steps of a reply as they lie in Redis: text that stands in the content is not kept twice. Pure."""

from typing import Any


def folded(parts: list[dict[str, Any]], content: str) -> list[dict[str, Any]]:
    """Steps whose text stands in the content name its place instead, so that none is kept twice."""
    folded, at = [], 0
    for part in parts:
        text = part.get("text", "")
        if part["type"] == "text" and content.startswith(text, at):
            folded.append({"type": "text", "at": [at, at + len(text)]})
            at += len(text)
        else:
            folded.append(part)
    return folded


def unfolded(parts: list[dict[str, Any]], content: str) -> list[dict[str, Any]]:
    """The steps with their text again."""
    return [{"type": "text", "text": content[slice(*part["at"])]} if "at" in part else part for part in parts]
