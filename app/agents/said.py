"""What was said in a run so far, as far as the next piece of text must know it. Knows no model."""

from collections.abc import Callable


class Said:
    """Parts the text before and after a tool by a blank line, and joins what was torn inside a
    character.

    `chars` counts what was said. Half of a surrogate pair waits for the other half.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.chars = 0
        self._blank = True
        self._end = ""
        self._parted = False
        self._half = ""

    def part(self) -> None:
        """What comes next is another block."""
        self._parted = not self._blank

    def text(self, text: str) -> None:
        """Says this text."""
        if self._half or "\ud800" <= text[-1:] <= "\udbff":
            text = self._half + text
            whole = text[:-1] if "\ud800" <= text[-1:] <= "\udbff" else text
            text, self._half = whole, text[len(whole) :]
        if text and self._parted:
            text = self._gap(text) + text
            self._parted = False
        if text:
            self._say(text)
            self.chars += len(text)
            self._blank = self._blank and text.isspace()
            self._end = (self._end + text[-2:])[-2:]

    def rest(self) -> None:
        """Says what still waits."""
        half, self._half = self._half, ""
        if half:
            self._say(half)
            self.chars += 1

    def _gap(self, text: str) -> str:
        """The line feeds that are missing for a blank line."""
        before = len(self._end) - len(self._end.rstrip("\n"))
        behind = len(text) - len(text.lstrip("\n"))
        return "\n" * max(0, 2 - before - behind)
