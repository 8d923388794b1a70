"""What somebody sends, and how the memory and the model take it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from app.agents.wishes import PLAIN, Wishes
from app.store.asked import Asked
from app.store.records import Message
from app.store.waiting import Waiting

GO_ON = "Go on."  # what the model is told where the conversation ends with its own words


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody sends.

    `replaces` names the run whose question, and all behind it, this one takes the place of;
    `continues` the run whose reply is to go on, without a text. `chosen`: the agent was named, and
    not just the usual one. `turns` is the conversation before it where the client brings it: the
    chat becomes it. Without `text` the model goes on. Without `keep` nothing is stored. `alone`:
    the run goes on without readers. `files`: what is known of those it names. `instructions` and
    `temperature` are those of the chat, when it begins with this.
    """

    text: str
    agent: str
    run_id: str
    on_busy: Literal["reject", "replace", "queue"] = "reject"
    replaces: str | None = None
    continues: str | None = None
    chosen: bool = True
    turns: tuple[Message, ...] | None = None
    keep: bool = True
    alone: bool = False
    wishes: Wishes = PLAIN
    line: Literal["", "last", "first", "head"] = ""
    files: tuple[dict[str, Any], ...] = ()
    instructions: str = ""
    temperature: float | None = None

    @property
    def digest(self) -> str:
        """Tells this text, and what comes with it, from others, without keeping it."""
        turns = [(turn.role, turn.content, *_ids(turn.files)) for turn in self.turns or ()]
        brought = json.dumps([turns, asdict(self.wishes)]) if self.turns is not None else ""
        asked = f"\0{self.continues}" if self.continues else self.text
        asked += "".join(f"\0{file_id}" for file_id in _ids(self.files))
        return hashlib.sha256(f"{asked}{brought}".encode()).hexdigest()[:32]

    def history(self, remembered: list[Message]) -> list[Message]:
        """What the model is to see: what was brought, else what is remembered."""
        if self.turns is None:
            return remembered or [Message("user", self.text, files=[*self.files])]
        return as_turns([*self.turns, Message("user", self.text or GO_ON, files=[*self.files])])

    def for_memory(self) -> Asked:
        """As the memory takes it. What replaces something, or brings its conversation, cannot wait."""
        waits = not self.replaces and not self.continues and self.turns is None
        line = {"reject": "", "replace": "first", "queue": "last" if waits else ""}[self.on_busy]
        waiting = Waiting(self.run_id, self.text, self.agent, [*self.files]).kept()
        return Asked(
            self.text, self.digest, self.replaces, self.turns, self.line or line, waiting,  # type: ignore[arg-type]  # one of the table
            self.continues, self.chosen, self.files, self.instructions, self.temperature,
        )  # fmt: skip


def as_turns(turns: Iterable[Message]) -> list[Message]:
    """The turns as a model takes them: none empty, those of one role behind each other as one."""
    found: list[Message] = []
    for turn in turns:
        if found and found[-1].role == turn.role:
            files = [*(found[-1].files or ()), *(turn.files or ())]
            found[-1] = Message(turn.role, f"{found[-1].content}\n\n{turn.content}", files=files)
        elif turn.content.strip():
            found.append(turn)
    return found


def _ids(files: Iterable[dict[str, Any]] | None) -> list[str]:
    return [file["file_id"] for file in files or ()]
