"""The load generator: tokens at the ceiling, the first token, paced streams, memory per stream.

Owns the four measurements; each takes a System and returns plain numbers (milliseconds, MB, tokens per
second). `python -m bench.load --system limit --what ceiling` runs one of them alone.
"""

import argparse
import asyncio
import contextlib
import itertools
import time
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable

import uvloop

from bench.client import Reply, ask, chat, open_reply
from bench.processes import pin_here
from bench.systems import System, ground, named

Numbers = dict[str, float]
SHORT, LONG = 300, 3000  # tokens per reply; the difference tells the cost of a chat from that of a token
STARTS_PER_SECOND = 100
TURNS = 5
_ids = itertools.count(1)


def chat_id() -> str:
    """A chat nobody has used yet."""
    return f"bench-{time.time_ns():x}-{next(_ids)}"


def percentile(values: "list[float] | array[float]", share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


async def ceiling(system: System, *, seconds: float = 3, chats: int = 20, tokens: int = SHORT) -> Numbers:
    """`chats` readers, one unthrottled reply after the other: tokens/s, and CPU per 1000 tokens of the
    process.
    """
    await asyncio.gather(*(chat(system.port, chat_id(), "tokens=200") for _ in range(chats)))
    began, cpu = time.monotonic(), system.process.cpu_seconds()
    read = await asyncio.gather(*(_reader(system, began + seconds, tokens) for _ in range(chats)))
    passed, cpu = time.monotonic() - began, system.process.cpu_seconds() - cpu
    return {
        "tokens_per_s": sum(read) / passed,
        "cpu_ms_per_1000": cpu * 1e6 / sum(read),
        "busy": cpu / passed,
    }


async def _reader(system: System, until: float, tokens: int) -> int:
    read = 0
    while not read or time.monotonic() < until:
        read += (await chat(system.port, chat_id(), f"tokens={tokens}")).tokens
    return read


async def first_token(systems: dict[str, System], *, times: int = 100, beside: int = 0) -> Numbers:
    """Milliseconds to the first token of each, one chat after the other, with `beside` paced ones going on.

    The systems take turns: a machine with little to do is not equally quick from one minute to the next.
    """
    waits: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(TURNS):
        for name, system in systems.items():
            async with background(system, beside, rate=20):
                waits[name] += [await _wait(system) for _ in range(times // TURNS + 3)][3:]
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        f"{name}.{key}": percentile(waits[name], share) for name in systems for key, share in shares.items()
    }


async def _wait(system: System) -> float:
    reply = await open_reply(system.port, chat_id(), "tokens=5")
    reply.send()
    await reply.closed
    await asyncio.sleep(0.02)
    return (reply.first_at - reply.sent_at) * 1000


@contextlib.asynccontextmanager
async def background(
    system: System, streams: int, *, rate: float = 0, asked: str = ""
) -> AsyncIterator[list[Reply]]:
    """`streams` endless replies (`rate` tokens/s each, or as `asked`) for the length of a block, stopped
    after it.
    """
    replies = [
        await open_reply(system.port, chat_id(), asked or f"tokens=100000 rate={rate}")
        for _ in range(streams)
    ]
    for reply in replies:
        reply.send()
        await asyncio.sleep(1.5 / streams)
    try:
        yield replies
    finally:
        told = [await ask(system.port, "POST", f"/api/v1/stop/{reply.chat_id}") for reply in replies]
        if told and told[0][0] == 202:
            await asyncio.wait([reply.closed for reply in replies], timeout=10)
        for reply in replies:
            reply.leave()


async def _paced(system: System, rate: float, seconds: float, delay: float) -> Reply:
    await asyncio.sleep(delay)
    reply = await open_reply(system.port, chat_id(), f"tokens={int(rate * seconds)} rate={rate}")
    reply.send()
    await reply.closed
    return reply


async def paced(system: System, streams: int, *, rate: float = 20) -> Numbers:
    """`streams` at once, `rate` tokens/s each: gaps between tokens in milliseconds, and CPU per 1000 tokens.

    They start at 100 a second, go on together for a while, and end as they came.
    """
    seconds = 4 + streams / STARTS_PER_SECOND
    cpu = system.process.cpu_seconds()
    replies = await asyncio.gather(
        *(_paced(system, rate, seconds, n / STARTS_PER_SECOND) for n in range(streams))
    )
    cpu = system.process.cpu_seconds() - cpu
    gaps = array("d", itertools.chain.from_iterable(reply.gaps for reply in replies))
    tokens = sum(reply.tokens for reply in replies)
    return {
        "gap_p50": percentile(gaps, 0.5) * 1000,
        "gap_p99": percentile(gaps, 0.99) * 1000,
        "cpu_ms_per_1000": cpu * 1e6 / tokens,
        "lost": float(streams * int(rate * seconds) - tokens),
    }


async def most_paced(system: System, ladder: tuple[int, ...]) -> Numbers:
    """The most streams at 20 tokens/s whose p99 gap stays under 100 ms; 0 when the first rung breaks."""
    found: Numbers = {"streams": 0.0}
    for rung in ladder:
        seen = await paced(system, rung)
        found |= {
            f"gap_p99_at_{rung}": seen["gap_p99"],
            f"cpu_ms_per_1000_at_{rung}": seen["cpu_ms_per_1000"],
        }
        if seen["gap_p99"] >= 100 or seen["lost"]:
            break
        found["streams"] = float(rung)
    return found


async def memory(system: System, *, streams: int = 100) -> Numbers:
    """MB of the process at rest after one chat, and MB per live stream on top."""
    await chat(system.port, chat_id(), "tokens=20")
    idle = system.process.rss_mb()
    going = [asyncio.create_task(_paced(system, 20, 5, n / streams)) for n in range(streams)]
    await asyncio.sleep(4)
    live = system.process.rss_mb()
    await asyncio.gather(*going)
    return {"idle_mb": idle, "mb_per_stream": (live - idle) / streams}


async def _alone(name: str, what: str, rounds: int) -> None:
    measures: dict[str, Callable[[System], Awaitable[Numbers]]] = {
        "ceiling": ceiling,
        "first_token": lambda system: first_token({name: system}),
        "beside": lambda system: first_token({name: system}, beside=50),
        "paced": lambda system: most_paced(system, (25, 50, 100, 200, 400, 800)),
        "memory": memory,
    }
    async with ground() as under:
        for _ in range(rounds):
            async with named(name, under) as system:
                seen = await measures[what](system)
                print(name, what, {key: round(value, 3) for key, value in seen.items()}, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--system", default="ollama", choices=["limit", "naive", "ollama", "openai", "bedrock"]
    )
    parser.add_argument(
        "--what", default="ceiling", choices=["ceiling", "first_token", "beside", "paced", "memory"]
    )
    parser.add_argument("--rounds", type=int, default=1)
    chosen = parser.parse_args()
    pin_here()
    uvloop.run(_alone(chosen.system, chosen.what, chosen.rounds))
