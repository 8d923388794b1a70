"""A chat as a person understands it: what must stand in it after whatever was done to it.

Knows neither HTTP nor Redis, and not the code behind them.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

MOST_VERSIONS = 10
Parts = list[dict[str, Any]] | None


@dataclass
class Said:
    """A message; `open`: a reply that can go on. Without a run it was brought, and has a `mark`."""

    role: str
    content: str
    run_id: str | None
    outcome: str | None = None
    parts: Parts = None
    continued: int = 0
    open: bool = False
    mark: str = ""

    def __post_init__(self) -> None:
        self.mark = self.mark or self.run_id or ""


@dataclass
class Past:
    """What stood in the place of the question marked `anchor`, and behind it."""

    anchor: str
    messages: list[Said]


@dataclass
class Live:
    """The reply being made; `frames` are what a person was shown of it, number and text."""

    run_id: str
    continues: str | None = None
    frames: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Waits:
    run_id: str
    text: str
    agent: str


@dataclass
class Thread:
    """One chat; `keep` messages at most."""

    chat_id: str
    keep: int
    title: str = ""
    agent: str = "general"
    chosen: str = ""
    instructions: str | None = None
    temperature: float | None = None
    messages: list[Said] = field(default_factory=list)
    versions: list[Past] = field(default_factory=list)
    queued: list[Waits] = field(default_factory=list)
    unsent: list[Waits] = field(default_factory=list)
    live: Live | None = None

    def place(self, mark: str) -> int | None:
        """Where the question with this mark stands."""
        return next((n for n, m in enumerate(self.messages) if m.mark == mark and m.role == "user"), None)

    def can_go_on(self) -> bool:
        """Whether the last reply can."""
        return not self.live and len(self.messages) > 1 and self.messages[-1].open

    def begin(self, run_id: str, text: str, agent: str, replaces: str = "", continues: str = "") -> None:
        """A reply begins."""
        assert self.live is None
        self.title, self.agent, self.unsent = self.title or text, agent, []
        if replaces:
            place = self.place(replaces)
            assert place is not None
            self._cut(place, run_id)
        if not continues:
            self.messages.append(Said("user", text, run_id))
        self.live = Live(run_id, continues or None)

    def become(self, turns: list[tuple[str, str]], stands: str) -> None:
        """A client brings these turns, with the question `stands` behind them."""
        old, place, taken = self.messages, 0, 0
        while place < len(old):
            turn = turns[taken] if taken < len(turns) else None
            told = turn == (old[place].role, old[place].content)
            silent = old[place].role == "assistant" and not old[place].content
            if not told and not (silent and (not turn or turn[0] == "user")):
                break
            place, taken = place + 1, taken + told
        came = [Said(*turn, None, mark=f"{stands}.{n}") for n, turn in enumerate(turns[taken:])]
        if place < len(old):
            fits = old[place].role == "user" and (not came or came[0].role == "user")
            while place and not fits:
                place -= 1
                came.insert(0, copy.deepcopy(old[place]))
                fits = old[place].role == "user"
            self._cut(place, came[0].mark if came else stands)
        self.messages += came

    def end(self, outcome: str, text: str, parts: Parts = None, *, is_open: bool = False) -> None:
        """It has ended."""
        assert self.live
        if self.live.continues:
            last = self.messages[-1]
            if last.parts:
                assert last.parts[-1]["type"] == "text"
                last.parts[-1]["text"] += text
            last.content, last.outcome, last.continued = last.content + text, outcome, last.continued + 1
            last.open = is_open
        else:
            self.messages.append(Said("assistant", text, self.live.run_id, outcome, parts, open=is_open))
        self.live = None
        del self.versions[:-MOST_VERSIONS]
        del self.messages[: -self.keep]

    def stop(self, *, all_of_it: bool) -> None:
        """Somebody stops it; `all_of_it`: no run was named."""
        if all_of_it and self.queued:
            self.unsent, self.queued = self.queued, []

    def swap(self, past: Past) -> None:
        """A version comes back, what stood there becomes one."""
        place = self.place(past.anchor)
        assert place is not None
        question = past.messages[0].mark
        self._cut(place, question)
        self.versions.remove(past)
        self.messages += past.messages

    def swappable(self) -> list[Past]:
        """Versions of the questions that stand here."""
        return [past for past in self.versions if self.place(past.anchor) is not None]

    def fork(self, chat_id: str, run_id: str) -> "Thread":
        """A new chat up to this reply."""
        end = next(n for n, m in enumerate(self.messages, 1) if (m.role, m.run_id) == ("assistant", run_id))
        made = copy.deepcopy(self)
        made.chat_id, made.title, made.messages = chat_id, f"{self.title} (branch)", made.messages[:end]
        made.versions, made.queued, made.unsent, made.live = [], [], [], None
        return made

    def put_in(self, chat_id: str) -> "Thread":
        """As it comes back from a file."""
        made = copy.deepcopy(self)
        made.chat_id, made.queued, made.unsent = chat_id, [], []
        del made.messages[: -self.keep]
        reached: list[Past] = []
        made._shown(made.messages, reached)  # its own class
        made.versions = [past for past in made.versions if past in reached][-MOST_VERSIONS:]
        return made

    def shown(self) -> list[dict[str, Any]]:
        """The messages with their versions."""
        return self._shown(self.messages, [])

    def _shown(self, messages: list[Said], told: list[Past]) -> list[dict[str, Any]]:
        found = []
        for message in messages:
            body = {
                n: getattr(message, n) for n in ("role", "content", "run_id", "outcome", "parts", "continued")
            }
            older = [p for p in self.versions if p.anchor == message.mark and not any(p is t for t in told)]
            told += older
            body["versions"] = [self._shown(past.messages, told) for past in older]
            found.append(body)
        return found

    def _cut(self, place: int, stands: str) -> None:
        gone = self.messages[place].mark
        for past in self.versions:
            if past.anchor == gone:
                past.anchor = stands
        self.versions.append(Past(stands, self.messages[place:]))
        del self.messages[place:]
