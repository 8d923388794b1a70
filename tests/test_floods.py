"""Who asks for much, and models that speak faster than anybody reads, leave the loop to the others."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.agents.floods import AT_ONCE, Flood, Floods
from app.agents.models.lines import MOST_LINE, PIECE, batches
from app.errors import ModelFailure


async def test_of_many_that_flood_one_goes_on_at_a_time_and_all_else_in_between() -> None:
    floods, done = Floods(), [0] * 20

    async def floods_on(n: int) -> None:
        flood = Flood(floods)
        while True:
            await flood.says(AT_ONCE)
            done[n] += 1

    tasks = [asyncio.create_task(floods_on(n)) for n in range(len(done))]
    turns = 4 * 5 * len(done)
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    assert sum(done) < turns / 2  # most turns of the loop are left to all else
    assert max(done) - min(done) <= 1
    assert min(done) >= 2


async def test_one_who_asks_for_one_thing_does_not_wait_for_those_of_another() -> None:
    floods, begun = Floods(), []

    async def asks(who: str, n: int) -> None:
        await floods.asks(who)
        begun.append((who, n))

    many = [asyncio.create_task(asks("many", n)) for n in range(50)]
    one = asyncio.create_task(asks("one", 0))
    await one
    assert len(begun) <= 3
    await asyncio.gather(*many)
    assert [n for who, n in begun if who == "many"] == list(range(50))


async def test_a_slow_model_never_waits() -> None:
    floods = Floods()
    flood = Flood(floods)
    for _ in range(10):
        ended = asyncio.create_task(flood.says(4))
        await asyncio.sleep(0)
        assert ended.done()


class Content:
    """What an answer of a model is read from: so many bytes at a time as are asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.most = 0

    async def read(self, most: int) -> bytes:
        piece, self.data = self.data[:most], self.data[most:]
        self.most = max(self.most, len(piece))
        return piece


async def read(data: bytes) -> list[list[bytes]]:
    found: AsyncIterator[list[bytes]] = batches(Content(data))  # type: ignore[arg-type]
    return [lines async for lines in found]


async def test_a_large_answer_is_read_in_parts_and_a_line_without_an_end_is_refused() -> None:
    lines = [b"%011d" % n for n in range(20_000)]
    found = await read(b"\n".join(lines))
    assert [line for part in found for line in part] == lines
    assert max(sum(map(len, part)) for part in found) < 2 * PIECE
    long = b"x" * 200_000
    parts = await read(b"a\n" + long + b"\n\nb\n")
    assert [line for part in parts for line in part] == [b"a", long, b"b"]
    with pytest.raises(ModelFailure):
        await read(b"x" * (MOST_LINE + 20_000))
