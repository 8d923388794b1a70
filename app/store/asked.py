"""What is asked of a run, as START takes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.store.records import Message


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a run: text and digest, the run whose question it takes the place of, or the
    one whose reply is to go on, without a text. `chosen`: the agent was named, and not just the
    usual one. `files` are those that it names. `instructions` and `temperature`: of a chat that begins
    with it.

    `turns`: the conversation before it, which the chat becomes; None where the chat goes on as it
    is. `line`: whether it may wait, see `waiting`; `waiting`: how it would stand in the queue.
    """

    text: str
    digest: str
    replaces: str | None = None
    turns: Sequence[Message] | None = None
    line: Literal["", "last", "first", "head"] = ""
    waiting: str = ""
    continues: str | None = None
    chosen: bool = True
    files: Sequence[dict[str, Any]] = ()
    instructions: str = ""
    temperature: float | None = None

    def message(self) -> str:
        """As it stands in the chat."""
        return Message("user", self.text, files=[*self.files]).body()

    def must_be_there(self) -> str:
        """The ids of files that must be in the chat; one that waited has been looked at before."""
        return "" if self.line == "head" else " ".join(file["file_id"] for file in self.files)
