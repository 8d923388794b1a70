"""One round of everything: the baselines and the product measured side by side, as
`<system>.<what>.<figure>`.

Owns the order and the sizes, full and quick; a measurement that breaks leaves a note and the round goes on.
"""

import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from bench.footprint import footprint
from bench.leak import growth
from bench.load import LONG, Numbers, ceiling, first_token, memory, most_paced
from bench.paced import RATES, STREAMS, side_by_side
from bench.stops import FLOWING, SILENT, alive_after, stops, three, under_load
from bench.storage import measured
from bench.systems import Ground, System, baseline, behind_nginx, ground, named, product

SYSTEMS = ("limit", "naive", "ollama", "bedrock")


@dataclass(frozen=True)
class Sizes:
    """How much of everything a round does."""

    seconds: float = 3
    first_tokens: int = 100
    stops: int = 100
    alive: int = 300
    leak: int = 2000
    limit_ladder: tuple[int, ...] = (400, 800)
    naive_ladder: tuple[int, ...] = (25, 50, 100)
    product_ladder: tuple[int, ...] = (200, 400, 600)
    streams: tuple[int, ...] = STREAMS
    rates: tuple[int, ...] = RATES
    beside: tuple[int, ...] = (100, 200, 400)


FULL = Sizes()
QUICK = Sizes(1.5, 40, 30, 100, 400, (400,), (25, 50), (200, 400), (10, 50, 200), (20,), (100,))


@dataclass
class Round:
    """The figures of one round, and what could not be measured."""

    sizes: Sizes
    figures: Numbers = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    async def note(self, name: str, measuring: Awaitable[Numbers]) -> None:
        """Keeps the figures of one measurement under its name, or why there are none."""
        began = time.monotonic()
        try:
            seen = await measuring
        except Exception as error:  # noqa: BLE001  # the root of each measurement
            self.broken[name] = f"{type(error).__name__}: {error}"
            print(f"  {name:22} broken: {self.broken[name][:300]}", flush=True)
            return
        self.figures |= {f"{name}.{figure}": value for figure, value in seen.items()}
        shown = "  ".join(f"{figure} {value:.4g}" for figure, value in list(seen.items())[:6])
        print(f"  {name:22} {time.monotonic() - began:5.1f} s  {shown}", flush=True)


async def one_round(sizes: Sizes, *, leak: bool) -> Round:
    """Everything once, on fresh processes."""
    done = Round(sizes)
    async with ground() as under:
        await _paced(done, under)
        await _load(done, under)
        await _first_tokens(done, under)
        await _naive_stops(done, under)
        await _product_alone(done, under)
        await _product_stops(done, under)
        await _three(done, under)
        if leak:
            await done.note("leak", growth(under, count=sizes.leak))
    return done


async def _paced(done: Round, under: Ground) -> None:
    async with AsyncExitStack() as stack:
        systems = {name: await stack.enter_async_context(named(name, under)) for name in ("limit", "ollama")}
        measuring = side_by_side(under, systems, streams=done.sizes.streams, rates=done.sizes.rates)
        await done.note("paced", measuring)


async def _load(done: Round, under: Ground) -> None:
    sizes = done.sizes
    ladders = {"limit": sizes.limit_ladder, "naive": sizes.naive_ladder}
    for name in SYSTEMS:
        async with named(name, under) as system:
            await done.note(f"{name}.ceiling", ceiling(system, seconds=sizes.seconds))
            await done.note(f"{name}.long", ceiling(system, seconds=sizes.seconds, tokens=LONG))
            await done.note(f"{name}.paced", most_paced(system, ladders.get(name, sizes.product_ladder)))
        async with named(name, under) as system:
            await done.note(f"{name}.memory", memory(system))
    async with named("openai", under) as system:
        await done.note("openai.ceiling", ceiling(system, seconds=sizes.seconds))


async def _first_tokens(done: Round, under: Ground) -> None:
    """Each system as it is when it has been in use: the product holds all the chats it may."""
    times = done.sizes.first_tokens
    async with AsyncExitStack() as stack:
        systems = {name: await stack.enter_async_context(named(name, under)) for name in SYSTEMS}
        for system in systems.values():
            await ceiling(system, seconds=1)
        await done.note("first", first_token(systems, times=times))
        two = {name: systems[name] for name in ("limit", "ollama")}
        await done.note("beside", first_token(two, times=times, beside=50))


async def _naive_stops(done: Round, under: Ground) -> None:
    async with baseline("naive", under) as system:
        port = system.port
        few = max(10, done.sizes.stops // 3)
        await done.note("naive.stop", stops(under, port, port, times=few, upstream=False))
        late = ("delay_ms=5000 tokens=50 rate=50",)
        await done.note("naive.silent", stops(under, port, port, times=3, asked=late, upstream=False))


async def _product_alone(done: Round, under: Ground) -> None:
    await done.note("footprint", footprint(under))
    await done.note("storage", measured())
    async with product(under, env={"DISCONNECT_GRACE_SECONDS": "2"}) as system:
        await done.note("alive", alive_after(under, system, chats=done.sizes.alive))


async def _product_stops(done: Round, under: Ground) -> None:
    many = done.sizes.stops
    async with AsyncExitStack() as stack:
        front = await three(under, stack)
        one, two = front.backends[:2]
        for name, chats, asks in (("same", one, one), ("other", one, two), ("nginx", front, front)):
            await done.note(f"stop.{name}", stops(under, chats.port, asks.port, times=many, asked=(FLOWING,)))
        await done.note("stop.silent", stops(under, front.port, front.port, times=many, asked=SILENT))
        for beside in done.sizes.beside:
            name = f"stop.load{beside}"
            await done.note(name, under_load(under, one, times=many, streams=beside))
    async with AsyncExitStack() as stack:
        front = await three(under, stack, "bedrock")
        await done.note(
            "stop.bedrock", stops(under, front.port, front.port, times=many, asked=(FLOWING, *SILENT))
        )


async def _three(done: Round, under: Ground) -> None:
    async with AsyncExitStack() as stack:
        front = await three(under, stack)
        await done.note("three.product", ceiling(front, seconds=done.sizes.seconds))
    async with AsyncExitStack() as stack:
        naive = await three_naive(under, stack)
        await done.note("three.naive", ceiling(naive, seconds=done.sizes.seconds))


async def three_naive(under: Ground, stack: AsyncExitStack) -> System:
    """Three naive services behind the project's Nginx."""
    backends = [await stack.enter_async_context(baseline("naive", under)) for _ in range(3)]
    return await stack.enter_async_context(behind_nginx(tuple(backends)))
