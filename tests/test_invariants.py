"""The invariant check itself: each kind of violation makes it fail."""

from typing import Any

import httpx
import pytest

from tests.world.client import Stream
from tests.world.invariants import assert_run_holds
from tests.world.sse import Frame

END = Frame("end", '{"outcome": "done"}', "r:4")
GOOD = [
    Frame("start", "{}", "r:1"),
    Frame("text", '{"text": "a"}', "r:2"),
    Frame("text", '{"text": "b"}', "r:3"),
    END,
]
STOPPED = Frame("end", '{"outcome": "stopped"}', "r:4")
KEPT = {"content": "ab", "outcome": "done"}


def seen(frames: list[Frame]) -> Stream:
    stream = Stream(httpx.Response(200, headers={"X-Run-Id": "r"}), "json")
    stream.frames = frames
    return stream


def test_a_good_run_passes_however_it_was_read() -> None:
    assert_run_holds("r", [seen(GOOD)], KEPT)
    assert_run_holds("r", [seen(GOOD[:2]), seen(GOOD[2:])], KEPT)
    assert_run_holds("r", [seen(GOOD[:1])], None)


@pytest.mark.parametrize(
    ("streams", "kept"),
    [
        ([[*GOOD, END]], KEPT),
        ([[*GOOD, Frame("text", '{"text": "c"}', "r:5")]], KEPT),
        ([[GOOD[0], GOOD[1], GOOD[1], *GOOD[2:]]], KEPT),
        ([[GOOD[1], GOOD[0], *GOOD[2:]]], KEPT),
        ([GOOD, [*GOOD[:3], STOPPED]], KEPT),
        ([GOOD, [Frame("text", '{"text": "x"}', "r:2")]], KEPT),
        ([[*GOOD[:3], Frame("end", '{"outcome": "done"}', "other:4")]], KEPT),
        ([GOOD], {"content": "a", "outcome": "done"}),
        ([GOOD], {"content": "abc", "outcome": "done"}),
        ([GOOD], {"content": "ab", "outcome": "stopped"}),
        ([GOOD], None),
    ],
    ids=["two endings", "text after the end", "repeated", "out of order", "ended in two ways", "two versions",
         "foreign id", "less kept", "more kept", "other outcome kept", "nothing kept"],
)  # fmt: skip
def test_a_violation_is_found(streams: list[list[Frame]], kept: dict[str, Any] | None) -> None:
    with pytest.raises(AssertionError):
        assert_run_holds("r", [seen(frames) for frames in streams], kept)
