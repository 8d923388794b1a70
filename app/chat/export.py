"""A chat as a Markdown file: what tools and thinking did is folded away. Pure."""

import json
import re
from typing import Any

from app.events import iso
from app.store.records import ChatState, Message


def markdown(state: ChatState) -> str:
    """The whole chat."""
    pieces = [f"# {state.fields.get('title') or 'Chat'}"]
    for message in state.messages:
        who = "You" if message.role == "user" else "Assistant"
        note = f" ({message.outcome})" if message.outcome not in (None, "done") else ""
        files = "".join(f"- {_file(file)}\n" for file in message.files or ())
        body = f"{_body(message)}\n\n{files}".rstrip("\n") if files else _body(message)
        pieces.append(f"## {who}{note}\n\n*{iso(message.created_ms)}*\n\n{body}")
    return "\n\n".join(pieces) + "\n"


def _file(file: dict[str, Any]) -> str:
    """A file by its name, which cannot become a link or a picture here."""
    name = re.sub(r"([\\`*_\[\]<>!&])", r"\\\1", file["name"])
    return f"{name} ({file['media_type']}, {file['bytes']:,} bytes)"


def _body(message: Message) -> str:
    """The text, and between its parts the steps."""
    parts = message.parts or []
    if "".join(part["text"] for part in parts if part["type"] == "text") != message.content:
        parts = [part for part in parts if part["type"] != "text"]
        parts.append({"type": "text", "text": message.content})
    return "\n\n".join(piece for part in parts if (piece := _piece(part)))


def _piece(part: dict[str, Any]) -> str:
    if part["type"] == "text":
        return str(part["text"]).strip("\n")
    if part["type"] == "reasoning":
        return _fold("Thinking", part, str(part["text"]))
    said = {name: part[name] for name in ("input", "output") if part[name] is not None}
    return _fold(
        f"{part['name']} ({part['status']})", part, *(f"{name}: {_as_text(it)}" for name, it in said.items())
    )


def _fold(title: str, part: dict[str, Any], *texts: str) -> str:
    took = f", {part['seconds']} s" if part["seconds"] is not None else ""
    inside = "\n\n".join(_fenced(text) for text in texts)
    return f"<details><summary>{title}{took}</summary>\n\n{inside}\n\n</details>"


def _fenced(text: str) -> str:
    """In a fence longer than any in it, so that it cannot leave."""
    ticks = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}\n{text}\n{fence}"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
