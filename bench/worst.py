"""The bystander benchmark: while one client does the worst that its limits allow, another one's first token
and stop.

Owns what the rude one does; Nginx counts it by one address, as in an installation. Times in milliseconds.
`python -m bench.worst --seconds 20`.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import uvloop

from bench.client import ask, open_reply
from bench.load import chat_id, percentile
from bench.processes import BENCH_CORE, pin_here, running
from bench.stops import FLOWING, stop_once
from bench.systems import System, behind_nginx, ground, product

RUDE = "10.66.6.6"  # one address: its limits are for it alone
AT_ONCE = 40  # more of its requests are refused at the door
TURNS = 60  # of 32 KB: a chat at its limit in bytes
FIRST_TOKEN_MS, STOP_MS, GIVEN_UP_MS = 1000, 250, 15_000

Deed = Callable[[int], Awaitable[None]]


async def rudely(port: int, method: str, path: str, body: bytes = b"", read: bool = True) -> None:
    """One request of the rude client; it reads the answer or hangs up at once."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nX-Forwarded-For: {RUDE}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head.encode() + body)
                await writer.drain()
                while read and await reader.read(65536):
                    pass
            finally:
                writer.transport.abort()


async def reads(port: int) -> None:
    """The largest chat that is allowed, again and again."""
    await rudely(port, "GET", "/api/v1/chat/worst-fat")


async def floods(port: int) -> None:
    """A reply as fast as the model sends it."""
    await _says(port, "tokens=50000", read=True)


async def hangs_up(port: int) -> None:
    """Asks and leaves."""
    await _says(port, "tokens=100000 rate=20", read=False)


async def replays(port: int) -> None:
    """A long reply from its beginning."""
    await rudely(port, "GET", "/api/v1/chat/worst-long/events?format=json")


async def stops_many(port: int) -> None:
    """As many ids as one request may name."""
    ids = [f"worst-none-{n}" for n in range(1000)]
    await rudely(port, "POST", "/api/v1/stop/bulk", json.dumps({"chat_ids": ids}).encode())


async def searches(port: int) -> None:
    """Words that are nowhere."""
    await rudely(port, "GET", "/api/v1/chats?q=nowhere")


async def replaces(port: int) -> None:
    """Another question in the place of one that is not there, in the largest chat."""
    body = {"message": "x", "replaces": "no-such-run-1"}
    await rudely(port, "POST", "/api/v1/chat/worst-fat", json.dumps(body).encode())


ROLES = ("user", "assistant")
DEEDS: tuple[Deed, ...] = (reads, floods, hangs_up, replays, stops_many, searches, replaces)


async def _says(port: int, plan: str, *, read: bool, chat: str = "") -> None:
    body = json.dumps({"message": f"Go on [stub {plan}]"}).encode()
    await rudely(port, "POST", f"/api/v1/chat/{chat or chat_id()}?format=json", body, read)


async def prepared(port: int) -> None:
    """The largest chat, and a long reply."""
    messages = [
        {"role": role, "content": "🙂" * 3900, "created_at": "2026-01-01T00:00:00Z"} for role in ROLES
    ]
    line = {"chat_id": "worst-fat", "messages": messages * TURNS}
    await rudely(port, "POST", "/api/v1/import", json.dumps(line, ensure_ascii=False).encode())
    await _says(port, "tokens=15000", read=True, chat="worst-long")


async def rude(port: int, deeds: tuple[Deed, ...]) -> None:
    """Does all of these, over and over, until the process is ended."""
    os.nice(19)  # what it costs itself is no matter
    turns = itertools.cycle(deeds)

    async def one() -> None:
        while True:
            await next(turns)(port)

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))


async def measured(front: System, seconds: float) -> dict[str, float]:
    """What a bystander waits for."""
    until = time.monotonic() + seconds
    one, two = front, front.backends[1]
    firsts: list[float] = []
    stopped: list[float] = []
    while time.monotonic() < until:
        reply = await open_reply(one.port, chat_id(), "tokens=5")
        reply.send()
        async with asyncio.timeout(30):
            await reply.closed
        if reply.status != 200:
            raise RuntimeError(f"the bystander was refused: {reply.status}")
        firsts.append((reply.first_at - reply.sent_at) * 1000)
        try:
            stopped.append((await stop_once(one.port, two.port, FLOWING)).ended_ms)
        except TimeoutError:
            stopped.append(GIVEN_UP_MS)
        await asyncio.sleep(0.05)
    return {
        "times": len(firsts), "first_p50": percentile(firsts, 0.5), "first_max": max(firsts),
        "stop_p50": percentile(stopped, 0.5), "stop_max": max(stopped),
    }  # fmt: skip


PLANS: dict[str, tuple[Deed, ...]] = {"nobody": (), "all of it": DEEDS}
PLANS |= {deed.__name__: (deed,) for deed in DEEDS}
RUDE_ONE = (sys.executable, "-m", "bench.worst")


async def ended(port: int) -> None:
    """Stops what the rude one has left behind, so that each deed is measured alone."""
    async with asyncio.timeout(60):
        while runs := (await ask(port, "GET", "/api/v1/runs"))[1]["runs"]:
            ids = [run["chat_id"] for run in runs[:1000]]
            await ask(port, "POST", "/api/v1/stop/bulk?wait=2000", {"chat_ids": ids})


async def _all(seconds: float, only: str) -> None:
    async with ground() as under, AsyncExitStack() as stack:
        started = [product(under, backend=f"bench-{n}", env={"MAX_RUNS": "200"}) for n in (1, 2, 3)]
        backends = [await stack.enter_async_context(one) for one in started]  # its limits as they come
        front = await stack.enter_async_context(behind_nginx(tuple(backends)))
        await prepared(front.port)
        for name, deeds in PLANS.items():
            if only in ("", name):
                with contextlib.ExitStack() as busy:
                    if deeds:
                        words = ["--rude", str(front.port), "--only", name]
                        busy.enter_context(running([*RUDE_ONE, *words], BENCH_CORE, "rude"))
                    await asyncio.sleep(1)
                    told = await measured(front, seconds)
                well = told["first_max"] < FIRST_TOKEN_MS and told["stop_max"] < STOP_MS
                figures = "  ".join(f"{key} {value:.0f}" for key, value in told.items())
                print(f"{name:<12} {figures}  {'well' if well else 'TOO LATE'}", flush=True)
                await ended(front.backends[0].port)


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.worst", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of each deed")
    parser.add_argument("--only", default="", help="one deed alone: " + ", ".join(d.__name__ for d in DEEDS))
    parser.add_argument("--rude", type=int, default=0, help="be the rude one, at this port")
    chosen = parser.parse_args()
    pin_here()
    if chosen.rude:
        return uvloop.run(rude(chosen.rude, PLANS[chosen.only]))
    return uvloop.run(_all(chosen.seconds, chosen.only))


if __name__ == "__main__":
    main()
