"""Which turns go to the model: properties that hold for every chat, and a few chats as examples."""

import itertools
import random
from dataclasses import replace

import pytest

from app.agents.room import TURN_WEIGHT, Room, weight
from app.chat.window import Window, choose, facts
from app.store.records import Message

WIDE = Room()


def question(text: str) -> Message:
    return Message("user", text)


def reply(text: str, window: Window | None = None, tokens: int | None = None) -> Message:
    return Message(
        "assistant", text, facts=facts(len(window.turns), window.left_out, tokens) if window else None
    )


def contents(window: Window) -> list[str]:
    return [text for _, text in window.turns]


def talk(turns: int, most: int, room: Room, words: random.Random, rate: float) -> list[tuple[Window, int]]:
    """A chat of so many turns with a model that has `rate` tokens per weight: each window, and the tokens it
    really had.
    """
    history: list[Message] = []
    seen = []
    for n in range(turns):
        history.append(question(f"question {n} " + "word " * words.randrange(120)))
        window = choose(history[-most * 4 :], most, room)
        real = room.around + sum(weight(text) + TURN_WEIGHT for _, text in window.turns)
        tokens = round(real * rate)
        seen.append((window, tokens))
        fate = words.random()
        if fate < 0.1:
            history.append(Message("assistant", ""))  # stopped before its first token
        elif fate < 0.2:
            history.append(reply(f"reply {n} cut", window))  # stopped before the model told its counts
        else:
            history.append(reply(f"reply {n} " + "word " * words.randrange(300), window, tokens))
    return seen


@pytest.mark.parametrize("seed", range(40))
def test_every_window_is_a_talk_that_ends_with_the_question(seed: int) -> None:
    words = random.Random(seed)
    most, window = words.randrange(1, 20), words.choice([0, 1024, 2048, 8192])
    for n, (chosen, _) in enumerate(talk(60, most, Room(window, 512, 900), words, words.uniform(0.22, 0.6))):
        roles = [role for role, _ in chosen.turns]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
        assert len(roles) % 2 == 1
        assert len(roles) <= max(1, most)
        assert all(text.strip() for text in contents(chosen))
        assert contents(chosen)[-1].startswith(f"question {n} ")
        assert chosen.left_out >= 0
        assert window or not chosen.left_out


@pytest.mark.parametrize("seed", range(40))
def test_once_the_model_has_counted_everything_fits(seed: int) -> None:
    words = random.Random(seed)
    room = Room(words.choice([1024, 2048, 4096]), 400, 700)
    counted = False
    for chosen, tokens in talk(60, 40, room, words, words.uniform(0.22, 0.6)):
        if counted and len(chosen.turns) > 1:
            assert tokens <= room.window - room.reply + 1
        counted = True


@pytest.mark.parametrize("window", [0, 2048])
def test_most_windows_begin_as_the_one_before(window: int) -> None:
    for seed in range(20):
        seen = [w for w, _ in talk(60, 8, Room(window, 400, 700), random.Random(seed), 0.3)]
        moved = sum(contents(a)[0] != contents(b)[0] for a, b in itertools.pairwise(seen))
        assert moved <= 32, "a window that moves with every turn is read anew with every turn"


def test_ten_questions_move_the_window_three_times() -> None:
    history: list[Message] = []
    sizes = []
    for n in range(10):
        history.append(question(f"question {n}"))
        window = choose(history, 8, WIDE)
        sizes.append(len(window.turns))
        history.append(reply(f"reply {n}", window))
    assert sizes == [1, 3, 5, 7, 5, 7, 5, 7, 5, 7]


def test_what_does_not_fit_is_counted_for_as_long_as_it_is_missing() -> None:
    history: list[Message] = []
    left_out = []
    for n in range(6):
        history.append(question(f"question {n} " + "word " * 200))
        window = choose(history, 100, Room(1500, 400, 300))
        left_out.append(window.left_out)
        history.append(reply("word " * 200, window))
    assert left_out[0] == 0
    assert left_out == sorted(left_out)
    assert left_out[-1] == len(history) - 1 - len(choose(history[:-1], 100, Room(1500, 400, 300)).turns)


def test_a_question_that_is_too_long_alone_still_goes() -> None:
    window = choose([question("hi"), reply("ho"), question("1 " * 4000)], 8, Room(1024, 512, 300))
    assert len(window.turns) == 1
    assert window.left_out == 2


def test_a_reply_longer_than_the_window_leaves_half_of_it_for_the_prompt() -> None:
    window = choose([question("hi"), reply("ho"), question("and now?")], 8, Room(1024, 4096, 300))
    assert len(window.turns) == 3


def test_an_empty_reply_goes_with_its_question() -> None:
    history = [question("a"), reply("b"), question("lost"), reply(" \n"), question("c"), question("d")]
    assert contents(choose(history, 8, WIDE)) == ["a", "b", "d"]


def test_a_prompt_that_filled_the_window_is_not_believed() -> None:
    """Ollama cuts what is too long and counts the rest: the next window is not made by that count."""
    room = Room(1000, 300, 0)
    cut = Window([("user", "word " * 1000)])
    history = [question("word " * 1000), reply("so", cut, tokens=1000), question("and now?")]
    assert len(choose(history, 8, room).turns) == 1


def test_facts_that_make_no_sense_do_no_harm() -> None:
    odd: list[object] = [
        {"turns": 4},
        {"turns": -3, "tokens": 5},
        {"turns": "x"},
        [],
        {"turns": 99, "tokens": 9},
    ]
    for prompt in odd:
        told = replace(reply("b"), facts={"prompt": prompt})
        window = choose([question("a"), told, question("c")], 8, Room(4096, 100, 100))
        assert contents(window)[-1] == "c"
        assert window.turns[0][0] == "user"
