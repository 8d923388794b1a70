"""What a model thinks, where its server leaves it inside the text. Pure; knows no provider."""

from typing import Any

_OPEN, _CLOSE = "<think>", "</think>"


class Thinking:
    """Parts `<think>…</think>` at the beginning of a text from what follows, wherever it is cut."""

    def __init__(self) -> None:
        self._held = ""
        self._state = "before"

    def part(self, text: str) -> list[tuple[str, Any]]:
        """What is certain now, as `(kind, text)`."""
        if self._state == "text":
            return [("text", text)]
        self._held += text
        said: list[tuple[str, Any]] = []
        if self._state == "before" and self._begun():
            self._state, self._held = "thinking", self._held.lstrip()[len(_OPEN) :]
        if self._state == "thinking":
            said += self._inside()
        if self._state == "after":
            self._held = self._held.lstrip("\n")
        if self._held and self._state in {"after", "text"}:
            said.append(("text", self._held))
            self._state, self._held = "text", ""
        return said

    def held_back(self) -> list[tuple[str, Any]]:
        """What is left when nothing follows."""
        kind = "reasoning" if self._state == "thinking" else "text"
        held, self._held = self._held, ""
        return [(kind, held)] if held.strip() else []

    def _begun(self) -> bool:
        """Whether the text begins with the mark; it is text when it can no longer."""
        begun = self._held.lstrip()
        if begun and not _OPEN.startswith(begun[: len(_OPEN)]):
            self._state = "text"
        return begun.startswith(_OPEN)

    def _inside(self) -> list[tuple[str, Any]]:
        thought, mark, after = self._held.partition(_CLOSE)
        if mark:
            self._state, self._held = "after", after
        else:
            sure = len(thought) - _overlap(thought)
            thought, self._held = thought[:sure], thought[sure:]
        return [("reasoning", thought)] if thought else []


def _overlap(text: str) -> int:
    """How many of the last characters may be the beginning of the closing mark."""
    return next((n for n in range(len(_CLOSE) - 1, 0, -1) if text.endswith(_CLOSE[:n])), 0)
