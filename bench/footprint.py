"""What the product costs when little happens: start, memory at rest and per stream, Redis commands of idle
streams.

Owns these figures; `python -m bench.footprint` prints them alone.
"""

import argparse
import asyncio
import time

import uvloop

from bench.client import chat
from bench.load import Numbers, background, chat_id, memory
from bench.processes import pin_here
from bench.systems import Ground, System, ground, product


async def footprint(under: Ground, *, provider: str = "ollama") -> Numbers:
    """Start to healthy (s), first chat (ms to its first token), memory (MB), Redis commands per idle stream
    and s.
    """
    async with product(under, provider=provider) as system:
        first = await chat(system.port, chat_id(), "tokens=5")
        return {
            "start_s": system.healthy_at - system.started_at,
            "first_chat_ms": (first.first_at - first.sent_at) * 1000,
            **await memory(system),
            **await redis_commands(under, system),
        }


async def redis_commands(
    under: Ground, system: System, *, streams: int = 100, seconds: float = 10
) -> Numbers:
    """Commands per second and live stream whose model is silent; those of the process itself included."""
    async with background(system, streams, asked="delay_ms=600000"):
        await asyncio.sleep(2)
        before, began = await _calls(under), time.monotonic()
        await asyncio.sleep(seconds)
        after, passed = await _calls(under), time.monotonic() - began
    grown = {name: (after[name] - before.get(name, 0)) / passed / streams for name in after}
    grown.pop("info", None)
    return {
        "redis_per_stream_s": sum(grown.values()),
        **{f"redis_{name}": rate for name, rate in grown.items() if rate},
    }


async def _calls(under: Ground) -> dict[str, float]:
    stats = await under.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): float(seen["calls"]) for name, seen in stats.items()}


async def _alone(provider: str) -> None:
    async with ground() as under:
        for name, value in (await footprint(under, provider=provider)).items():
            print(f"{name:24} {value:10.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", default="ollama", choices=["ollama", "bedrock", "demo"])
    pin_here()
    uvloop.run(_alone(parser.parse_args().provider))
