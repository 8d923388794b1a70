"""Memory: the worst case of each budget while every part has no more than docker-compose.yml gives it.

Owns what is asked of the stack at once. A part that the kernel kills, somebody's reply that is cut or a stack
that is not well afterwards makes the exit code 1. Linux, as root. `python -m bench.limits`.
"""

import asyncio
import contextlib
import itertools
import json
import re
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import uvloop

from bench.client import ask, open_reply
from bench.groups import Room, limited
from bench.load import chat_id
from bench.processes import ROOT, pin_here
from bench.systems import System, behind_nginx, ground, product
from bench.worst import prepared, rudely

SLOW_BODIES, HALF_HEADERS, READS, REPLAYS = 500, 3500, 200, 100
LONGEST = 118_000  # tokens: a million characters, at which a reply is ended
HELD_SECONDS = 8  # slow ones are held so long; their deadlines are longer
_addresses = itertools.count(1)


@dataclass(frozen=True)
class Stack:
    """The front, and what each part may have."""

    front: System
    rooms: dict[str, Room]


def memory_of(service: str) -> int:
    """MB that compose gives to a part."""
    text = (ROOT / "docker-compose.yml").read_text()
    part = text[text.index("x-backend" if service == "backend" else f"\n  {service}:") :]
    found = re.search(r"limits: \{memory: (\d+)M", part)
    assert found
    return int(found[1])


# what is done at once


async def slow_bodies(port: int) -> None:
    """Messages of which the last bytes come one by one."""
    head = "POST /api/v1/chat/slow HTTP/1.1\r\nHost: bench\r\nContent-Length: 262144\r\n{}\r\n"
    await held(port, [head.format(_from()).encode() + b"x" * 262_000 for _ in range(SLOW_BODIES)])


async def half_headers(port: int) -> None:
    """Requests whose head has no end."""
    head = "GET / HTTP/1.1\r\nHost: bench\r\n" + "".join(f"X-{n}: {'a' * 7600}\r\n" for n in (1, 2))
    await held(port, [head.encode()] * HALF_HEADERS)


async def reads(port: int) -> None:
    """The largest chat, by many at once."""
    await many(port, "/api/v1/chat/worst-fat", READS)


async def replays(port: int) -> None:
    """The longest reply from its beginning, by many at once."""
    await many(port, "/api/v1/chat/limits-long/events?format=json", REPLAYS)


async def deaf_replays(port: int) -> None:
    """The same by readers who take nothing of it."""
    head = "GET /api/v1/chat/limits-long/events?format=json HTTP/1.1\r\nHost: bench\r\n{}\r\n"
    await held(port, [head.format(_from()).encode() for _ in range(REPLAYS)], more=b"")


CASES: tuple[Callable[[int], Awaitable[None]], ...] = (
    slow_bodies,
    half_headers,
    reads,
    replays,
    deaf_replays,
)


async def held(port: int, openings: list[bytes], more: bytes = b"x") -> None:
    """Connections that send this, then a byte a second, and take nothing."""
    async with AsyncExitStack() as stack:
        links = [await _opened(port, opening, stack) for opening in openings]
        for _ in range(HELD_SECONDS):
            await asyncio.sleep(1)
            for link in links:
                if not link.is_closing():
                    link.write(more)


async def _opened(port: int, opening: bytes, stack: AsyncExitStack) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    stack.callback(writer.transport.abort)
    writer.write(opening)
    with contextlib.suppress(OSError):
        await writer.drain()
    return writer


def _from() -> str:
    """A header that says another address each time: limits of one address are not what is measured."""
    n = next(_addresses)
    return f"X-Forwarded-For: 10.99.{n // 250}.{n % 250 + 1}\r\n"


async def many(port: int, path: str, count: int) -> None:
    statuses = await asyncio.gather(*(whole(port, path) for _ in range(count)))
    if unknown := set(statuses) - {b"200", b"503"}:
        raise RuntimeError(f"{path}: {unknown}")
    print(f"{statuses.count(b'200')} of {count} were answered, the rest told to come back")


async def whole(port: int, path: str) -> bytes:
    """The status of one answer that is read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n{_from()}\r\n".encode())
    async with asyncio.timeout(120):
        status = (await reader.readline()).split()[1]
        while await reader.read(262_144):
            pass
    writer.close()
    return status


# the stack


@contextlib.asynccontextmanager
async def stack_in_rooms() -> AsyncIterator[Stack]:
    async with ground(kept=True) as under, AsyncExitStack() as entered:
        started = [product(under, backend=f"bench-{n}", env={"MAX_RUNS": "200"}) for n in (1, 2, 3)]
        backends = [await entered.enter_async_context(one) for one in started]
        front = await entered.enter_async_context(behind_nginx(tuple(backends)))
        assert front.proxy
        parts = {"redis": under.redis_process, "nginx": front.proxy}
        parts |= {f"backend {n}": one.process for n, one in enumerate(backends, 1)}
        rooms = {
            name: entered.enter_context(limited(process, memory_of(name.split()[0])))
            for name, process in parts.items()
        }
        yield Stack(front, rooms)


async def watching(rooms: dict[str, Room]) -> None:
    while True:
        for room in rooms.values():
            room.look()
        await asyncio.sleep(0.05)


async def measured(stack: Stack, case: Callable[[int], Awaitable[None]]) -> list[str]:
    """Does one case beside somebody's reply; what went wrong."""
    port = stack.front.port
    bystander = await open_reply(port, chat_id(), "tokens=100000 rate=10")
    bystander.send()
    await bystander.reached(5)
    watch = asyncio.create_task(watching(stack.rooms))
    try:
        await case(port)
        async with asyncio.timeout(30):
            await bystander.reached(bystander.tokens + 10)
            status, _ = await ask(port, "GET", "/health")
        cut = bystander.closed.done()
    finally:
        watch.cancel()
        await ask(port, "POST", f"/api/v1/stop/{bystander.chat_id}")
    wrong = [f"{name} was killed" for name, room in stack.rooms.items() if room.killed()]
    wrong += [f"/health says {status}"] if status != 200 else []
    return wrong + (["somebody's reply was cut"] if cut else [])


async def _all() -> int:
    wrong: list[str] = []
    async with stack_in_rooms() as stack:
        await prepared(stack.front.port)
        body = json.dumps({"message": f"Go on [stub tokens={LONGEST}]"}).encode()
        await rudely(stack.front.port, "POST", "/api/v1/chat/limits-long?format=json", body)
        for case in CASES:
            wrong += [f"{case.__name__}: {one}" for one in await measured(stack, case)]
            told = "  ".join(f"{name} {room.peak:.0f}/{room.limit}" for name, room in stack.rooms.items())
            print(f"{case.__name__:<14} {told}", flush=True)
    print("\n".join(wrong) or "nothing was killed, nobody cut")
    return bool(wrong)


if __name__ == "__main__":
    pin_here()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.exit(uvloop.run(_all()))
