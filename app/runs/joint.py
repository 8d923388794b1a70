"""The seam between a reply that was cut and what goes on with it. Pure.

Only what stands there already is left out: white space, and a code fence that is opened a second
time. Nothing is put in that nobody said, but the blank line between text before and after a tool.
"""

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_OPENED_AGAIN = re.compile(r"\s*(`{3,}|~{3,})[^\S\n]*\w[^\n`]*\n")
MOST_HELD = 200  # characters that wait until it is clear what they are


class Joint:
    """Takes the first text behind `before`, holds it until it is clear, then passes everything."""

    def __init__(self, before: str) -> None:
        self._before = before
        self._fence = open_fence(before)
        self._held = ""
        self._parted = False
        self._closed = False

    def apart(self) -> None:
        """A tool was used in between."""
        self._parted = bool(self._before)

    def join(self, text: str) -> str:
        """The text that can be said now."""
        if self._closed:
            return text
        self._held += text
        if len(self._held) < MOST_HELD and self._unclear():
            return ""
        return self.last()

    def last(self) -> str:
        """What still waits."""
        if self._closed:
            return ""
        self._closed = True
        return _fitting(self._before, self._held, self._fence, self._parted)

    def _unclear(self) -> bool:
        begun = self._held.lstrip()
        return not begun or (bool(self._fence) and begun[0] == self._fence and "\n" not in begun)


def open_fence(text: str) -> str:
    """The sign of the code fence that is open at the end of a text; empty where none is."""
    opened = ""
    for fence, behind in _FENCE.findall(text):
        if not opened:
            opened = "" if "`" in behind and fence[0] == "`" else fence
        elif fence.startswith(opened) and not behind.strip():
            opened = ""
    return opened[:1]


def _fitting(before: str, text: str, fence: str, parted: bool) -> str:
    ended = len(before) - len(before.rstrip("\n"))
    begun = len(text) - len(text.lstrip("\n"))
    if fence:
        again = _OPENED_AGAIN.match(text)
        return text[again.end() :] if again and again[1][0] == fence else text
    if parted and text:
        return "\n" * max(0, 2 - ended - begun) + text
    if ended:
        return "\n" * min(begun, max(0, 2 - ended)) + text[begun:]
    return text.lstrip(" \t") if before.endswith((" ", "\t")) else text
