"""A strict reader of server-sent events: the algorithm of
https://html.spec.whatwg.org/#event-stream-interpretation.

Stricter than a browser in one way: what a browser would ignore in silence (unknown fields, invalid UTF-8) is
an error.
"""

import codecs
import json
import re
from dataclasses import dataclass, field
from typing import Any

LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")  # a CR at the very end may be half of CR LF


@dataclass(frozen=True)
class Frame:
    """One dispatched event. `event` is `message` when none was named."""

    event: str
    data: str
    id: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def number(self) -> int:
        """n of the id `<run_id>:<n>`."""
        return int(self.id.rpartition(":")[2])


@dataclass
class SseParser:
    """Bytes in, frames out, however the bytes are cut."""

    comments: list[str] = field(default_factory=list)
    _decoder: codecs.IncrementalDecoder = field(default_factory=codecs.getincrementaldecoder("utf-8"))
    _rest: str = ""
    _event: str = ""
    _data: list[str] = field(default_factory=list)
    _last_id: str = ""
    _fields: int = 0

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing half-sent is left."""
        return not self._rest.strip("\r\n") and not self._fields

    def feed(self, chunk: bytes) -> list[Frame]:
        *lines, self._rest = LINE_END.split(self._rest + self._decoder.decode(chunk))
        frames = [self._line(line) for line in lines]
        return [frame for frame in frames if frame]

    def _line(self, line: str) -> Frame | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            self.comments.append(line[1:].removeprefix(" "))
            return None
        name, _, value = line.partition(":")
        self._field(name, value.removeprefix(" "))
        return None

    def _field(self, name: str, value: str) -> None:
        self._fields += 1
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            assert "\0" not in value
            self._last_id = value
        else:
            assert name == "retry", f"unknown field {name!r}"
            assert value.isdecimal()

    def _dispatch(self) -> Frame | None:
        frame = Frame(self._event or "message", "\n".join(self._data), self._last_id) if self._data else None
        self._event, self._data, self._fields = "", [], 0
        return frame
