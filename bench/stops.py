"""The stop benchmark: from the POST to the terminal frame at the reader, and to the model seeing its reader
leave.

Owns the phases a stop can hit (between tokens, silent model) and what is left alive afterwards. Times in
milliseconds. `python -m bench.stops --where same|other|nginx|silent|load` runs one setting alone.
"""

import argparse
import asyncio
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle

import uvloop

from bench.client import Ask, ask, chat, open_reply
from bench.groups import slowed
from bench.load import Numbers, background, chat_id, percentile
from bench.processes import pin_here
from bench.systems import Ground, System, behind_nginx, ground, product

FLOWING = "tokens=100000 rate=50"
SILENT = ("delay_ms=600000", "tokens=100000 rate=200 stall_after=5")


@dataclass(frozen=True)
class Stop:
    """One stop: `ended_ms` and `closed_ms` count from the sending of the POST."""

    tag: str
    sent_at: float
    ended_ms: float
    tokens_after: int


async def stop_once(chat_port: int, stop_port: int, asked: str) -> Stop:
    """Starts a reply, lets it get going, stops it at a random moment between two tokens."""
    tag = chat_id()
    reply = await open_reply(chat_port, tag, f"{asked} tag={tag}")
    reply.send()
    if asked.startswith("tokens="):
        await reply.reached(4)
    await asyncio.sleep(random.uniform(0.03, 0.06))
    stopping = await Ask.open(stop_port)
    reply.marked, sent_at = reply.tokens, time.monotonic()
    status, answer = await stopping.send("POST", f"/api/v1/stop/{tag}")
    async with asyncio.timeout(15):
        await reply.closed
    if status != 202 or reply.ending != b"data: [STOPPED]":
        raise RuntimeError(f"chat {reply.status}, ending {reply.ending!r}, stop {status} {answer}")
    return Stop(tag, sent_at, (reply.ended_at - sent_at) * 1000, reply.tokens - reply.marked)


async def closed_ms(under: Ground, stops: list[Stop]) -> list[float]:
    """When the stub saw each reader leave, waiting for the last; a stop before the model was asked does not
    count.
    """
    async with asyncio.timeout(15):
        while True:
            calls = (await under.stub())["calls"]
            seen = [(calls[stop.tag], stop) for stop in stops if stop.tag in calls]
            if all(call for call, _ in seen):
                return [(call["at"] - stop.sent_at) * 1000 for call, stop in seen]
            await asyncio.sleep(0.05)


async def stops(
    under: Ground,
    chat_port: int,
    stop_port: int,
    *,
    times: int,
    asked: tuple[str, ...] = (FLOWING,),
    upstream: bool = True,
) -> Numbers:
    """`times` stops, one after the other."""
    plans = cycle(asked)
    done = [await stop_once(chat_port, stop_port, next(plans)) for _ in range(times)]
    ended = [stop.ended_ms for stop in done]
    after = [stop.tokens_after for stop in done]
    seen = {
        "p50": percentile(ended, 0.5),
        "p99": percentile(ended, 0.99),
        "max": max(ended),
        "tokens_after_mean": sum(after) / times,
        "tokens_after_max": float(max(after)),
    }
    if upstream:
        closed = await closed_ms(under, done)
        seen |= {"closed_p50": percentile(closed, 0.5), "closed_p99": percentile(closed, 0.99)}
    return seen


async def under_load(under: Ground, system: System, *, times: int, streams: int = 100) -> Numbers:
    """Stops in a process that makes `streams` other replies at 50 tokens/s."""
    async with background(system, streams, rate=50):
        return await stops(under, system.port, system.port, times=times)


async def alive_after(under: Ground, system: System, *, chats: int = 300, seconds: float = 6) -> Numbers:
    """Model calls still open `seconds` after half of `chats` was stopped and readers of the others left."""
    before = (await under.stub())["streams_open"]
    replies = [await open_reply(system.port, chat_id(), "tokens=100000 rate=5") for _ in range(chats)]
    for reply in replies:
        reply.send()
    async with asyncio.timeout(30):
        await asyncio.gather(*(reply.reached(2) for reply in replies))
    for number, reply in enumerate(replies):
        if number % 2:
            reply.leave()
        else:
            await ask(system.port, "POST", f"/api/v1/stop/{reply.chat_id}")
    await asyncio.sleep(seconds)
    return {"alive": float((await under.stub())["streams_open"] - before)}


async def three(under: Ground, stack: AsyncExitStack, provider: str = "ollama") -> System:
    """Three backends of the product behind the project's Nginx, each warmed up by a few chats."""
    backends = [
        await stack.enter_async_context(product(under, provider=provider, backend=f"bench-{number}"))
        for number in (1, 2, 3)
    ]
    for backend in backends * 3:
        await chat(backend.port, chat_id(), "tokens=5")
    return await stack.enter_async_context(behind_nginx(tuple(backends)))


async def _alone(where: str, provider: str, times: int, streams: int, slow: int) -> None:
    async with ground() as under, AsyncExitStack() as stack:
        front = await three(under, stack, provider)
        one, two = front.backends[0], front.backends[1]
        for backend in front.backends:
            stack.enter_context(slowed(backend.process, slow))
        if where == "load":
            seen = await under_load(under, one, times=times, streams=streams)
        else:
            asked = SILENT if where == "silent" else (FLOWING,)
            pair = {
                "same": (one, one),
                "other": (one, two),
                "nginx": (front, front),
                "silent": (front, front),
            }[where]
            seen = await stops(under, pair[0].port, pair[1].port, times=times, asked=asked)
        print(where, {key: round(value, 2) for key, value in seen.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", default="nginx", choices=["same", "other", "nginx", "silent", "load"])
    parser.add_argument("--provider", default="ollama", choices=["ollama", "bedrock"])
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--streams", type=int, default=100, help="beside which it stops, with --where load")
    parser.add_argument("--slow", type=int, default=0, help="percent of one core for each backend")
    chosen = parser.parse_args()
    pin_here()
    uvloop.run(_alone(chosen.where, chosen.provider, chosen.times, chosen.streams, chosen.slow))
