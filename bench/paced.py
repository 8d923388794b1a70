"""The paced case, as people get their replies: many streams, each a token every now and then.

Owns what a token costs there (CPU of the server and of Redis, commands, wake-ups) and by how much it
comes later than the model sent it: the stub stamps each token, the reader takes the difference. Each system
is measured at each setting in turn. `python -m bench.paced --streams 50,200 --rates 20` prints some of it.
"""

import argparse
import asyncio
import random
import re
import statistics
import time
from array import array
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from math import nan
from typing import cast

import uvloop

from bench.client import request
from bench.groups import slowed
from bench.load import Numbers, chat_id, percentile
from bench.processes import pin_here
from bench.systems import Ground, System, ground, named
from bench.wire import STAMP

STREAMS, RATES = (1, 10, 50, 200, 400), (5, 20, 80)
RAMP_SECONDS = 1.5  # for all to start, so that they do not tick together
SETTLE_SECONDS = 0.5
FEW = 0.9  # of the tokens that are due: with less the setting is more than the system can do
FIGURES = (
    "cpu_us", "redis_us", "all_us", "late_p50", "late_p99", "commands", "wakes", "cores", "share",
)  # fmt: skip
_STAMPED = re.compile(rb"~(\d{%d})" % STAMP)


@dataclass(slots=True)
class Window:
    """What all readers of a setting count together, while it is open. `late`: microseconds per token."""

    is_open: bool = False
    late: "array[float]" = field(default_factory=lambda: array("d"))


class Reader(asyncio.Protocol):
    """One reply to its end; what of its tokens falls into the window is counted there."""

    def __init__(self, window: Window, asked: str) -> None:
        self._window = window
        self._request = request("POST", f"/api/v1/chat/{chat_id()}", {"message": f"Go on [stub {asked}]"})
        self._torn = b""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._window.is_open:
            return
        now, seen = time.monotonic() * 1e6, self._torn + data
        at = seen.rfind(b"~")
        self._torn = seen[at:] if at >= 0 and len(seen) - at <= STAMP else b""
        self._window.late.extend([now - int(sent) for sent in _STAMPED.findall(seen)])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.closed.done():
            self.closed.set_result(None)


async def paced(under: Ground, system: System, streams: int, rate: float, *, seconds: float = 3) -> Numbers:
    """One setting: CPU in microseconds per token, delay in milliseconds, Redis commands and wake-ups per
    token.
    """
    window = Window()
    asked = f"tokens={int(rate * (RAMP_SECONDS + 2 * SETTLE_SECONDS + seconds)) + 1} rate={rate} stamped=1"
    readers = [await _begun(system, window, asked, RAMP_SECONDS / streams) for _ in range(streams)]
    await asyncio.sleep(SETTLE_SECONDS)
    before, began = await _counts(under, system), time.monotonic()
    window.is_open = True
    await asyncio.sleep(seconds)
    window.is_open = False
    passed, after = time.monotonic() - began, await _counts(under, system)
    await asyncio.wait([reader.closed for reader in readers], timeout=60)
    tokens = len(window.late)
    each = {name: (after[name] - before[name]) / (tokens or 1) for name in before}
    return {
        "cpu_us": each["cpu"] * 1e6,
        "redis_us": each["redis"] * 1e6,
        "all_us": (each["cpu"] + each["redis"]) * 1e6,
        "late_p50": percentile(window.late, 0.5) / 1000,
        "late_p99": percentile(window.late, 0.99) / 1000,
        "commands": each["commands"],
        "wakes": each["wakes"],
        "cores": (after["cpu"] - before["cpu"]) / passed,
        "share": tokens / (streams * rate * passed),
    }


async def _begun(system: System, window: Window, asked: str, pause: float) -> Reader:
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: Reader(window, asked), "127.0.0.1", system.port)
    await asyncio.sleep(random.uniform(0, 2 * pause))
    return reader


async def _counts(under: Ground, system: System) -> Numbers:
    stats = await under.redis.info("stats")
    return {
        "cpu": system.process.cpu_seconds(),
        "redis": under.redis_process.cpu_seconds(),
        "commands": float(stats["total_commands_processed"]),
        "wakes": float(system.process.waits()),
    }


async def side_by_side(
    under: Ground,
    systems: dict[str, System],
    *,
    streams: tuple[int, ...] = STREAMS,
    rates: tuple[int, ...] = RATES,
    seconds: float = 3,
) -> Numbers:
    """Every setting with each system in turn, as `<system>.<streams>x<rate>.<figure>`."""
    seen: Numbers = {}
    for rate in rates:
        for count in streams:
            for name, system in systems.items():
                found = await paced(under, system, count, rate, seconds=seconds)
                seen |= {f"{name}.{count}x{rate}.{key}": value for key, value in found.items()}
    return seen


def table(rounds: Sequence[Numbers]) -> list[str]:
    """Markdown: a line per setting and system of these rounds, medians; the ratio is taken inside a round."""
    settings = dict.fromkeys(key.rpartition(".")[0] for seen in rounds for key in seen)
    lines = [
        "| streams x tokens/s | | CPU µs per token | of it Redis | x limit | late p50 / p99, ms "
        "| Redis commands | wake-ups | cores |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, _, setting in sorted((at.partition(".") for at in settings), key=lambda at: _size(at[2])):
        own = "cpu_us" if name == "limit" else "all_us"  # Redis has other things to do while the limit runs
        found = {key: _median(rounds, f"{name}.{setting}.{key}") for key in FIGURES}
        ratios = [
            seen[f"{name}.{setting}.{own}"] / seen.get(f"limit.{setting}.cpu_us", nan) for seen in rounds
        ]
        full = "" if found["share"] >= FEW else f" ({found['share']:.0%} of the tokens)"
        lines.append(
            f"| {setting} | {name}{full} | {found[own]:.0f} | {found['redis_us']:.0f} "
            f"| {statistics.median(ratios):.2f} | {found['late_p50']:.1f} / {found['late_p99']:.1f} "
            f"| {found['commands']:.2f} | {found['wakes']:.2f} | {found['cores']:.2f} |"
        )
    return lines


def _size(setting: str) -> tuple[int, int]:
    streams, _, rate = setting.partition("x")
    return int(rate), int(streams)


def _median(rounds: Sequence[Numbers], key: str) -> float:
    return statistics.median(seen[key] for seen in rounds)


async def _alone(chosen: argparse.Namespace) -> None:
    streams, rates, names = chosen.streams, chosen.rates, tuple(chosen.systems.split(","))
    done: list[Numbers] = []
    for _ in range(chosen.rounds):
        async with ground() as under, AsyncExitStack() as stack:
            systems = {name: await stack.enter_async_context(named(name, under)) for name in names}
            for system in systems.values():
                stack.enter_context(slowed(system.process, chosen.slow))
            done.append(
                await side_by_side(under, systems, streams=streams, rates=rates, seconds=chosen.seconds)
            )
    print("\n".join(table(done)), flush=True)


def _numbers(words: str) -> tuple[int, ...]:
    return tuple(int(word) for word in words.split(","))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", default="limit,ollama", help="of limit, naive, ollama, openai, bedrock")
    parser.add_argument("--streams", type=_numbers, default=(10, 50, 200))
    parser.add_argument("--rates", type=_numbers, default=(20,))
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--slow", type=int, default=0, help="percent of one core for each server")
    pin_here()
    uvloop.run(_alone(parser.parse_args()))
