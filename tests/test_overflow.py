"""A chat that its model finds too long before a word of it is asked once more, unseen, with less of it."""

from typing import Any

import pytest

from tests.world.fakes.model import FakeModel
from tests.world.fakes.reply import Exchange, Failure, Reply
from tests.world.sides import NUMBER, Side

WORDS = "Input is too long for requested model: 6030 tokens exceeds the available context size (4096 tokens)"
REFUSED = Reply(refuse=True, failure=Failure(400, "ValidationException", WORDS))
IN_THE_STREAM = Reply(fault="error", failure=Failure(400, "validationException", WORDS))
LATER = Reply(fault="error", fault_after=2, failure=Failure(400, "validationException", WORDS))


async def talk(side: Side, chat_id: str, turns: int = 3) -> None:
    """A chat of so many questions and answers."""
    async with side.client() as client:
        for n in range(turns):
            assert (await client.ask(chat_id, f"question {n}", agent="poet")).outcome == "done"


def sent(fake: FakeModel, text: str) -> list[int]:
    """How many turns went with each asking of this question."""
    return [len(_turns(exchange)) for exchange in fake.of(text)]


def _turns(exchange: Exchange) -> list[Any]:
    return [message for message in exchange.body["messages"] if message["role"] != "system"]


@pytest.mark.parametrize("refusal", [REFUSED, IN_THE_STREAM], ids=["refused", "in the stream"])
async def test_too_long_once_is_made_good_unseen(side: Side, chat_id: str, refusal: Reply) -> None:
    await talk(side, chat_id)
    side.fake.script.append(refusal)
    async with side.client() as client:
        stream = await client.ask(chat_id, "last one", agent="poet")
        facts = (await client.messages(chat_id))[-1]["facts"]
        following = await client.ask(chat_id, "and then?", agent="poet")
    assert (stream.outcome, stream.text) == ("done", Reply().text)
    assert sent(side.fake, "last one") == [7, 3]
    assert _turns(side.fake.of("last one")[1])[-1] == _turns(side.fake.of("last one")[0])[-1]
    assert facts["left_out"] == 4
    assert stream.end["usage"] == {"input_tokens": 11, "output_tokens": 5, "exact": True}
    assert {frame.event for frame in stream.frames} <= {"start", "text", "end"}
    assert (following.outcome, sent(side.fake, "and then?")) == ("done", [5]), "it begins where that began"


@pytest.mark.parametrize("refusal", [REFUSED, IN_THE_STREAM], ids=["refused", "in the stream"])
async def test_too_long_twice_is_told(side: Side, chat_id: str, refusal: Reply) -> None:
    await talk(side, chat_id)
    side.fake.script.extend([refusal, refusal])
    async with side.client() as client:
        stream = await client.ask(chat_id, "last one", agent="poet")
        assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "context_overflow")
        assert len(side.fake.of("last one")) == 2
        assert (await client.ask(chat_id, "better?", agent="poet")).outcome == "done"
    lines = side.cluster.backends[NUMBER[side.name]].output.splitlines()
    told = [line for line in lines if stream.run_id in line and "WARNING" in line]
    assert len(told) == 2
    assert all("6030 tokens exceeds" in line and "code=<context_overflow>" in line for line in told)
    assert "6030 tokens" not in stream.raw.decode()


async def test_a_single_question_that_is_too_long_is_not_asked_again(side: Side, chat_id: str) -> None:
    side.fake.script.append(REFUSED)
    async with side.client() as client:
        stream = await client.ask(chat_id, "all at once", agent="poet")
    assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "context_overflow")
    assert len(side.fake.of("all at once")) == 1


@pytest.mark.parametrize("thinks", [False, True])
async def test_behind_the_first_character_it_never_happens(side: Side, chat_id: str, thinks: bool) -> None:
    await talk(side, chat_id)
    thought = Reply(
        tokens=[], thinking=["hm"], fault="error", failure=Failure(400, "validationException", WORDS)
    )
    side.fake.script.append(thought if thinks else LATER)
    async with side.client() as client:
        stream = await client.ask(chat_id, "last one", agent="poet")
    assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "model_error")
    assert stream.text == ("" if thinks else "word0 word1 ")
    assert len(side.fake.of("last one")) == 1
