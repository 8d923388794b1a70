"""The leak check: 2,000 chats with stops and disconnects, then what is there that was not there before.

Owns the mix of endings and the comparison; the first quarter is warm-up. `python -m bench.leak` runs it
alone.
"""

import argparse
import asyncio
import json
import signal
import tempfile
import time
from pathlib import Path

import uvloop

from bench.client import ask, open_reply
from bench.load import Numbers, chat_id
from bench.processes import pin_here
from bench.systems import Ground, System, ground, product

AT_ONCE = 20
GRACE = {"DISCONNECT_GRACE_SECONDS": "0", "MEMORY_MAX_CONVERSATIONS": "250", "REPLAY_TTL_SECONDS": "2"}


async def census(system: System, under: Ground, file: Path) -> Numbers:
    """Counts everything that may grow, once nothing runs any more."""
    await under.quiet()
    await asyncio.sleep(4)  # replays expire, kept connections settle
    inside = _inside(system, file)
    return {
        "tasks": inside["tasks"],
        "objects": inside["objects"],
        "descriptors": float(system.process.descriptors()),
        "threads": float(system.process.threads()),
        "redis_clients": float(len(await under.redis.client_list())),
        "redis_keys": float(await under.redis.dbsize()),
        "rss_mb": system.process.rss_mb(),
    }


def _inside(system: System, file: Path) -> Numbers:
    """The process's own census; nothing else goes on meanwhile, so this may block."""
    file.unlink(missing_ok=True)
    system.process.signal(signal.SIGUSR1)
    deadline = time.monotonic() + 15
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("no census came")
        time.sleep(0.02)
    return {name: float(count) for name, count in json.loads(file.read_text()).items()}


async def one_chat(system: System, number: int) -> None:
    """A chat that ends by itself, by a stop while tokens flow or before the first one, or by its reader
    leaving.
    """
    name = chat_id()
    ending = number % 4
    asked = {0: "tokens=20", 1: "tokens=100000 rate=100", 2: "delay_ms=60000", 3: "tokens=100000 rate=100"}[
        ending
    ]
    reply = await open_reply(system.port, name, asked)
    reply.send()
    if ending % 2:
        await reply.reached(2)
    if ending == 3:
        reply.leave()
    while ending in (1, 2) and not reply.ending:
        await ask(system.port, "POST", f"/api/v1/stop/{name}")
        await asyncio.wait([reply.closed], timeout=2)
    async with asyncio.timeout(15):
        await reply.closed


async def chats(system: System, count: int, at_once: int = AT_ONCE) -> None:
    """`count` chats, so many side by side."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await one_chat(system, number)

    await asyncio.gather(*(lane() for _ in range(at_once)))


async def growth(under: Ground, *, count: int = 2000) -> Numbers:
    """What grew between a quarter of the chats and all of them; `<what>` after, `<what>_growth` the
    difference.
    """
    with tempfile.TemporaryDirectory(prefix="bench-census-") as folder:
        file = Path(folder) / "census.json"
        async with product(under, watched=True, env={**GRACE, "BENCH_CENSUS": str(file)}) as system:
            await chats(system, count // 4, 3 * AT_ONCE)  # pools of connections reach their size here
            before = await census(system, under, file)
            began = time.monotonic()
            await chats(system, count - count // 4)
            seconds = time.monotonic() - began
            after = await census(system, under, file)
    grown = {f"{name}_growth": after[name] - before[name] for name in after}
    return {**after, **grown, "chats_per_s": (count - count // 4) / seconds}


async def _alone(count: int) -> None:
    async with ground() as under:
        for name, value in (await growth(under, count=count)).items():
            print(f"{name:24} {value:12.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=2000)
    pin_here()
    uvloop.run(_alone(parser.parse_args().chats))
