"""What replies cost Redis: commands, bytes of its append-only file (an SD card wears), and memory.

Owns a Redis that writes its file as the stack's does; `python -m bench.storage` prints it alone.
"""

import argparse
import asyncio

import uvloop

from bench.client import chat
from bench.load import Numbers, chat_id
from bench.processes import pin_here
from bench.systems import Ground, System, ground, product

TOKENS, RATE = 200, 20


async def storage(under: Ground, system: System, *, chats: int = 20) -> Numbers:
    """For each reply of 200 tokens at 20 tokens/s, of `chats` side by side: commands (those of scripts
    with them), bytes of the file, and KB of memory while its log is kept. At rest: bytes a second.
    """
    await chat(system.port, chat_id(), "tokens=5")
    before = await _counts(under)
    await asyncio.gather(*(_reply(system, n / RATE / chats) for n in range(chats)))
    after = await _counts(under)
    await asyncio.sleep(10)
    rest = await _counts(under)
    idle = {name: (rest[name] - after[name]) / 10 for name in rest}
    each = {name: (after[name] - before[name] - idle[name] * TOKENS / RATE) / chats for name in after}
    return {
        "commands": each["commands"],
        "file_bytes": each["file"],
        "memory_kb": each["memory"] / 1000,
        "idle_file_bytes_s": idle["file"],
        "idle_commands_s": idle["commands"],
    }


async def _reply(system: System, delay: float) -> None:
    await asyncio.sleep(delay)
    await chat(system.port, chat_id(), f"tokens={TOKENS} rate={RATE}")


async def _counts(under: Ground) -> Numbers:
    told = await under.redis.info("everything")
    names = {"commands": "total_commands_processed", "file": "aof_current_size", "memory": "used_memory"}
    return {name: float(told[key]) for name, key in names.items()}


async def measured(*, chats: int = 20) -> Numbers:
    """The same on a Redis of its own."""
    async with ground(kept=True) as under, product(under) as system:
        return await storage(under, system, chats=chats)


async def _alone(chats: int) -> None:
    for name, value in (await measured(chats=chats)).items():
        print(f"{name:24} {value:10.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=20)
    pin_here()
    uvloop.run(_alone(parser.parse_args().chats))
