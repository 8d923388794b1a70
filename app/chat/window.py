"""Which turns of a chat go to the model: the newest that may and that fit. Pure; the same on every
backend.

The window moves in steps: it grows with each turn, and when it is full its older half goes at once.
So most prompts begin as the one before did, and a model's server has read that beginning already.
Where the window began last, and how many tokens its prompt had, the facts of the replies tell.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from app.agents.calls import as_json
from app.agents.past import whole_calls
from app.agents.room import TURN_WEIGHT, Room, weight
from app.store.filed import is_picture
from app.store.records import Message

TOKENS_PER_WEIGHT = 1 / 3  # until the model has counted a prompt of this chat
MOST_PICTURES = 4  # that go along, whichever turns name them
MOST_PICTURE_TOKENS = 1600
LEAST, MOST = 0.2, 1.5  # what a count may make of it


@dataclass(frozen=True, slots=True)
class Window:
    """Role and text of what goes to the model; `left_out`: messages that did not fit into its
    window.

    `calls`: the steps of the turns that used tools, by index, where the model takes tools; `files`
    what turns name, those pictures `faded` of which only the name goes along. `too_long`: its files
    alone are more than the model can read.
    """

    turns: list[tuple[str, str]]
    left_out: int = 0
    calls: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    too_long: bool = False


def facts(turns: int, left_out: int, tokens: int | None) -> dict[str, Any]:
    """What the facts of a reply keep for the next turn; `tokens` as the model counted the prompt."""
    if not turns:
        return {}
    prompt = {"turns": turns, **({"tokens": tokens} if tokens else {})}
    return {"prompt": prompt, **({"left_out": left_out} if left_out else {})}


def choose(history: list[Message], most: int, room: Room) -> Window:
    """The turns for the model: a user's first and last, strictly alternating, at most `most`."""
    turns = _turns(history, room)
    return _from(turns, *_beginning(turns, most, room), room)


def shorter(history: list[Message], most: int, room: Room) -> Window | None:
    """About half of what `choose` chooses, by weight: for a model that found it too long. None where there is
    nothing to leave out.
    """
    turns = _turns(history, room)
    start, left_out = _beginning(turns, most, room)
    too_much, first = sum(map(_weight_of, turns[start:])), start
    while len(turns) - start > 1 and sum(map(_weight_of, turns[start:])) > too_much / 2:
        start = _halved(start, len(turns))
    return _from(turns, start, left_out + start - first, room) if start > first else None


def _turns(history: list[Message], room: Room) -> list[Message]:
    return _with_newest_pictures([_with_calls(turn, room) for turn in _alternating(history)], room)


def _beginning(turns: list[Message], most: int, room: Room) -> tuple[int, int]:
    """Where the window begins, and how many messages before it did not fit."""
    start, left_out = _last_start(turns)
    while len(turns) - start > most:
        start, left_out = _halved(start, len(turns)), 0
    rate = _rate(turns, room)
    while len(turns) - start > 1 and not _fits(turns[start:], rate, room):
        before, start = start, _halved(start, len(turns))
        left_out += start - before
    return start, left_out


def _from(turns: list[Message], start: int, left_out: int, room: Room) -> Window:
    chosen = turns[start:]
    calls = {at: turn.parts for at, turn in enumerate(chosen) if turn.parts}
    files = {at: turn.files for at, turn in enumerate(chosen) if turn.files}
    too_long = bool(chosen and _texts(chosen[-1])) and not _fits(chosen[-1:], LEAST, room)
    return Window([(turn.role, turn.content) for turn in chosen], left_out, calls, files, too_long)


def _alternating(history: list[Message]) -> list[Message]:
    """Without empty replies and their questions, without what stands before the first question."""
    turns: list[Message] = []
    for message in history:
        if message.role == "user":
            if turns and turns[-1].role == "user":
                turns.pop()
            turns.append(message)
        elif turns and turns[-1].role == "user":
            if message.content.strip() and not _blocked(message):
                turns.append(message)
            else:
                turns.pop()
    return turns


def _blocked(reply: Message) -> bool:
    """Whether a guardrail spoke instead of the model: what it blocks once it would block in each turn."""
    return (reply.facts or {}).get("stop_reason") == "guardrail_intervened"


def _with_calls(turn: Message, room: Room) -> Message:
    """With the calls that the model can be shown again."""
    return replace(turn, parts=(room.tools and whole_calls(turn.parts)) or None)


def _with_newest_pictures(turns: list[Message], room: Room) -> list[Message]:
    """With all pictures but the newest faded; all where the model cannot see."""
    left = MOST_PICTURES if room.sees else 0
    found: list[Message] = []
    for turn in reversed(turns):
        files = []
        for file in turn.files or ():
            picture = is_picture(file)
            files.append(file | {"faded": True} if picture and not left else file)
            left -= picture and left > 0
        found.append(replace(turn, files=files or None))
    return found[::-1]


def _last_start(turns: list[Message]) -> tuple[int, int]:
    """Where the window of the newest reply that tells began, and how many had not fitted then."""
    for at in range(len(turns) - 1, 0, -1):
        sent = _prompt(turns[at]).get("turns")
        if isinstance(sent, int) and sent > 0:
            start = max(0, at - sent)
            return start + (turns[start].role != "user"), (turns[at].facts or {}).get("left_out", 0)
    return 0, 0


def _halved(start: int, end: int) -> int:
    """Where the newer half begins, with a user's turn."""
    return end - (((end - start) // 2) | 1)


def _rate(turns: list[Message], room: Room) -> float:
    """Tokens per weight, as the model counted the newest prompt of this chat."""
    for at in range(len(turns) - 1, 0, -1):
        prompt = _prompt(turns[at])
        sent, tokens = prompt.get("turns"), prompt.get("tokens")
        if isinstance(sent, int) and isinstance(tokens, int) and 0 < sent <= at:
            rate = tokens / _weight(turns[at - sent : at], room)
            full = tokens >= room.window > 0  # cut to fit, so it tells too little
            return min(MOST, max(TOKENS_PER_WEIGHT if full else LEAST, rate))
    return TOKENS_PER_WEIGHT


def _fits(turns: list[Message], rate: float, room: Room) -> bool:
    free = room.window - min(room.reply, room.window // 2)
    return not room.window or rate * _weight(turns, room) <= free


def _weight(turns: list[Message], room: Room) -> int:
    return room.around + sum(_weight_of(turn) for turn in turns)


def _weight_of(turn: Message) -> int:
    calls = [step for step in turn.parts or () if step["type"] == "tool"]
    used = sum(weight(as_json(step)) + TURN_WEIGHT for step in calls)
    return weight(turn.content) + TURN_WEIGHT + used + sum(map(_file_weight, turn.files or ()))


def _file_weight(file: dict[str, Any]) -> int:
    """About what a model makes of it: a picture a token for 750 pixels, a text like any other."""
    if not is_picture(file):
        return int(file["bytes"] * 4 / 3) + TURN_WEIGHT
    pixels = 0 if file.get("faded") else file.get("width", 0) * file.get("height", 0)
    return 3 * min(MOST_PICTURE_TOKENS, pixels // 750) + TURN_WEIGHT


def _texts(turn: Message) -> list[dict[str, Any]]:
    return [file for file in turn.files or () if not is_picture(file)]


def _prompt(turn: Message) -> dict[str, Any]:
    prompt = (turn.facts or {}).get("prompt")
    return prompt if isinstance(prompt, dict) else {}
