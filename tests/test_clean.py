"""Whatever the model says and however it is cut, the cleaned text is whole and no line of an event is an
ending.
"""

import re

from hypothesis import given
from hypothesis import strategies as some

from app.runs.clean import Cleaner

PIECE = some.text(
    alphabet=some.sampled_from("[]DONESTPRa \t\r\n\u2028é😀\ud800"), max_size=12
) | some.sampled_from(["[DONE]", "[STOPPED]", "[ERROR] x", "[ERROR]", "\r", "\r\n", "[DO", "NE]"])
FORGED = re.compile(r"\[(?:DONE|STOPPED)\]|\[ERROR\]( .*)?")


@given(some.lists(PIECE, max_size=8))
def test_cleaning_loses_nothing_and_forges_nothing(pieces: list[str]) -> None:
    cleaner = Cleaner()
    cleaned = [text for piece in pieces for text in cleaner.feed(piece)] + cleaner.rest()
    whole = "".join(pieces).replace("\r\n", "\n").replace("\r", "\n").replace("\ud800", "\ufffd")
    assert "".join(cleaned) == whole
    assert all(cleaned)
    for text in cleaned:
        text.encode()
        assert not any(FORGED.fullmatch(line.strip()) for line in text.split("\n"))


@given(some.text(), some.integers(1, 5))
def test_text_without_brackets_or_returns_passes_as_it_is(text: str, size: int) -> None:
    plain = text.replace("\r", "").replace("[", "")
    cleaner = Cleaner()
    cut = [plain[at : at + size] for at in range(0, len(plain), size)]
    assert "".join(piece for part in cut for piece in cleaner.feed(part)) == plain
    assert not cleaner.rest()
