"""The tool calls of a model, made fit before they go anywhere: real names, and an object for
arguments.

Knows neither Strands nor the run.
"""

import json
import re
import uuid
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from app.events import encodable

MOST_CALLS = 32  # of one message; what a model calls beyond is a loop of its own
MOST_INPUT = 64 * 1024  # characters of arguments
MOST_DEPTH = 32  # everything behind us walks them by recursion
MOST_SHOWN = 2000  # characters of a tool's input or output that the stream carries
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(slots=True)
class Call:
    """One call as far as it has come. `arguments` are the pieces of its JSON."""

    name: str = ""
    id: str = ""
    arguments: list[str] = field(default_factory=list)
    size: int = 0

    def take(self, part: Any) -> None:
        """A piece of it: its start or a delta; some models tell the name in a delta."""
        if not isinstance(part, dict):
            return
        self.name = self.name or _fit(part.get("name"))
        self.id = self.id or _fit(part.get("toolUseId"))
        given = part.get("input")
        if given and self.size <= MOST_INPUT:  # one more than fits shows that it does not
            self.arguments.append(given if isinstance(given, str) else as_json(given))
            self.size += len(self.arguments[-1])

    def whole(self, *known: Container[str]) -> "WholeCall | None":
        """The call with an id that is not known yet; None without a name, for then it is none."""
        if not self.name:
            return None
        if not self.id or any(self.id in ids for ids in known):
            self.id = f"tooluse_{uuid.uuid4().hex[:24]}"
        written = encodable("".join(self.arguments))
        given = read_object(written)
        return WholeCall(self.id, self.name, given or {}, written if given is None else None)


@dataclass(frozen=True, slots=True)
class WholeCall:
    """A call that may be sent on. `unread`: what stood there instead of arguments; it is not carried out."""

    id: str
    name: str
    input: dict[str, Any]
    unread: str | None

    @property
    def written(self) -> str:
        """The arguments as JSON."""
        return as_json(self.input)

    @property
    def shown(self) -> Any:
        """The arguments as readers see them: text where they are no object or too long."""
        if self.unread is not None:
            return cut(self.unread)
        return self.input if len(self.written) <= MOST_SHOWN else cut(self.written)


def read_object(written: str) -> dict[str, Any] | None:
    """The JSON object written here, once more as a string inside JSON too; None where there is none."""
    if not written.strip():
        return {}
    for _ in range(2):
        if len(written) > MOST_INPUT or _depth(written) > MOST_DEPTH:
            return None
        try:
            value = _sound(json.loads(written, parse_constant=_refused))
        except ValueError:
            return None
        if not isinstance(value, str):
            break
        written = value
    return {} if value is None else value if isinstance(value, dict) else None


def _sound(value: Any) -> Any:
    """The same without halves of characters, which nothing behind us can write down.

    Raises `ValueError` where a number is so large that it is none.
    """
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    sound = encodable(written)
    return value if sound is written else json.loads(sound)


def as_json(value: Any) -> str:
    """This as JSON; a text that is none where it is nested too deep for that."""
    try:
        return json.dumps(value)
    except (RecursionError, TypeError, ValueError):
        return "(nested too deep)"


def _depth(written: str) -> int:
    depth = most = 0
    for sign in re.findall(r"[\[{}\]]", _STRING.sub("", written)):
        depth += 1 if sign in "[{" else -1
        most = max(most, depth)
    return most


def _fit(name: Any) -> str:
    return _UNFIT.sub("_", name)[:64] if isinstance(name, str) else ""


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"
