"""The strict reader of the tests reads as the standard says; the examples are those of the standard."""

import pytest

from tests.world.sse import Frame, SseParser

STREAM = (
    ": hi\n\nid: r:1\ndata: one\ndata: Grüße\r\n\r\nevent: end\rid: r:2\rdata:{}\r\rdata\n\ndata: cut"
).encode()
FRAMES = [Frame("message", "one\nGrüße", "r:1"), Frame("end", "{}", "r:2"), Frame("message", "", "r:2")]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_frames_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    parser = SseParser()
    frames = [frame for at in range(0, len(STREAM), size) for frame in parser.feed(STREAM[at : at + size])]
    assert frames == FRAMES
    assert parser.comments == ["hi"]
    assert not parser.is_between_frames


def test_unknown_fields_are_an_error() -> None:
    with pytest.raises(AssertionError, match="unknown field"):
        SseParser().feed(b"text of a model that escaped its frame\n")
