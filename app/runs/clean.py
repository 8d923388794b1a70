"""Makes the text of a model safe to stream, before it is numbered: line ends, lone surrogates,
forged endings.
"""

import re

from app.events import encodable

# a terminal frame reads `[DONE]`, `[STOPPED]` or `[ERROR] …`; split behind the bracket, no line of
# one event can
_FORGED = re.compile(r"(?<=\[)(?=(?:DONE|STOPPED|ERROR)\])")


class Cleaner:
    """Cleans one stream of text, piece by piece; a carriage return waits for the piece behind it."""

    def __init__(self) -> None:
        self._pending = False

    def feed(self, text: str) -> list[str]:
        """The pieces to stream for this piece of the model: none, one, or more where an ending was forged."""
        if self._pending or "\r" in text:
            text = self._line_feeds(text)
        if not text.isascii():
            text = encodable(text)
        if "[" in text and "]" in text:
            return [piece for piece in _FORGED.split(text) if piece]
        return [text] if text else []

    def rest(self) -> list[str]:
        """What waits when the text ends."""
        waiting, self._pending = self._pending, False
        return ["\n"] if waiting else []

    def _line_feeds(self, text: str) -> str:
        if self._pending and text:
            text = "\r" + text
            self._pending = False
        if text.endswith("\r"):
            text, self._pending = text[:-1], True
        return text.replace("\r\n", "\n").replace("\r", "\n")
