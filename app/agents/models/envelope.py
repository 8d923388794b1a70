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

    def texts(self, lines: list[bytes]) -> tuple[str, int]:
        """The text of the first lines, as many as are each a text in this envelope, and how many they are."""
        before, after = self._before, self._after
        if not before:
            return "", 0
        start, end = len(before), -len(after)
        inner = [line[start:end] for line in lines if line.startswith(before) and line.endswith(after)]
        if len(inner) != len(lines):
            fits = enumerate(line.startswith(before) and line.endswith(after) for line in lines)
            inner = inner[: next(at for at, fit in fits if not fit)]
        try:
            texts = json.loads(b"[%b]" % b",".join(inner))
            return ("".join(texts), len(texts)) if len(texts) == len(inner) else ("", 0)
        except (ValueError, TypeError):
            return "", 0

    def remember(self, line: bytes, text: str) -> None:
        """This line said this text and nothing else."""
        found = _CONTENT.search(line)
        if found and json.loads(found[1]) == text:
            self._before, self._after = line[: found.start(1)], line[found.end(1) :]
