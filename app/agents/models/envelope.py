"""Reads a run of chunks that differ in their text alone, without parsing what is the same in all of
them.

A chunk of OpenAI's format is two hundred bytes around a word; parsing those costs more than all the
rest of a token. Pure; whatever does not fit is left to whoever parses it whole.
"""

import json
import re

_CONTENT = re.compile(rb'"content": ?("(?:[^"\\]|\\.)*")')


class Envelope:
    """What stands before and behind the text of a chunk, as the newest one that was parsed whole had it."""

    def __init__(self) -> None:
        self._before = self._after = b""

    def texts(self, lines: list[bytes]) -> str | None:
        """The text of all these lines; None unless each is a text in this envelope."""
        before, after = self._before, self._after
        if not before:
            return None
        start, end = len(before), -len(after)
        inner = [line[start:end] for line in lines if line.startswith(before) and line.endswith(after)]
        if len(inner) != len(lines):
            return None
        try:
            texts = json.loads(b"[%b]" % b",".join(inner))
            return "".join(texts) if len(texts) == len(lines) else None
        except (ValueError, TypeError):
            return None

    def remember(self, line: bytes, text: str) -> None:
        """This line said this text and nothing else."""
        found = _CONTENT.search(line)
        if found and json.loads(found[1]) == text:
            self._before, self._after = line[: found.start(1)], line[found.end(1) :]
