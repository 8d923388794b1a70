"""Breaks a running system at random while people use it: `python -m tests.chaos --seconds 600 --seed 7`.

Prints its seed first and a table at the end; exit code 1 when anything was against the contract.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM

import httpx

from tests.world.fakes.reply import Reply
from tests.world.invariants import assert_chat_holds, assert_quiet, leftovers
from tests.world.mischief import CAREFUL, Keeper, Mischief, Watch
from tests.world.redis_server import command, connect
from tests.world.rough import Rough, rough_cluster
from tests.world.visitors import Ledger, Visitor

VISITORS = 8
RECOVERY_SECONDS = 30


@dataclass
class Fault:
    """How often something was done, and how long from its end until a new message was answered."""

    times: int = 0
    recoveries: list[float] = field(default_factory=list)


class Chaos:
    """Does one bad thing after another."""

    def __init__(self, rough: Rough, chance: random.Random) -> None:
        self.rough = rough
        self.chance = chance
        self.faults: dict[str, Fault] = {}
        self.violations: list[str] = []
        self.mischief = Mischief(rough, chance)
        self.keeper = Keeper(rough)

    @property
    def deeds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "backend killed": self.kill_backend,
            "backend restarted": self.restart_backend,
            "backend frozen": self.freeze_backend,
            "Redis restarted": self.restart_redis,
            "Redis killed": self.kill_redis,
            "Redis frozen": self.freeze_redis,
            "links to Redis cut": self.cut_redis,
            "answers of Redis lost": self.lose_answers,
            "Redis slow": self.slow_redis,
            "wake-ups cut": self.cut_wake_ups,
            "Nginx reloaded": self.reload_nginx,
            "Nginx killed": self.kill_nginx,
            "links to the model cut": self.cut_model,
            "Redis full": self.mischief.full,
            "Redis read-only": self.mischief.read_only,
            "keys of another type": self.mischief.types,
            "garbage under keys": self.mischief.garbage,
            "largest chat read by 100": self.mischief.fat,
            "flood of thoughts": self.mischief.thoughts,
            "40,000 tool calls": self.mischief.tools,
            "approvals waiting": self.mischief.approvals,
            "40 hang-ups at once": self.mischief.hang_ups,
        }

    async def reign(self, until: float) -> None:
        """One deed after the other, each followed by a look at how long the system needs to recover."""
        deck: list[str] = []
        while time.monotonic() < until:
            if not deck:
                deck = self.chance.sample(sorted(self.deeds), len(self.deeds))
            name = deck.pop()
            print(f"{time.strftime('%H:%M:%S')} {name} …", end="", flush=True)
            kept = await self.keeper.prepare()
            trying = asyncio.create_task(self._try_meanwhile(kept[0])) if kept else None
            await self.deeds[name]()
            recovered = await self.recovery()
            if kept and trying:
                await self.keeper.look(*kept, await trying)
            fault = self.faults.setdefault(name, Fault())
            fault.times += 1
            fault.recoveries.append(recovered)
            print(f" well again after {recovered:.1f} s", flush=True)
            await asyncio.sleep(self.chance.uniform(0.5, 3))

    async def _try_meanwhile(self, chat_id: str) -> int:
        await asyncio.sleep(0.3)  # the deed has begun
        return await self.keeper.try_it(chat_id)

    async def recovery(self) -> float:
        """Seconds until a new message through Nginx is answered."""
        began = time.monotonic()
        n = 0
        async with self.rough.cluster.client() as client:
            while True:
                n += 1
                try:
                    async with client.chat(f"probe-{began:.3f}-{n}", "quick probe", kind="text") as stream:
                        if stream.status == 200 and (await stream.rest(10)).outcome == "done":
                            return time.monotonic() - began
                except (httpx.HTTPError, TimeoutError, AssertionError):
                    pass
                if time.monotonic() - began > RECOVERY_SECONDS:
                    self.violations.append(f"no new message was answered within {RECOVERY_SECONDS} s")
                    return time.monotonic() - began
                await asyncio.sleep(0.05)

    def some_backend(self) -> int:
        return self.chance.choice(list(self.rough.cluster.numbers))

    async def a_while(self, least: float = 0.5, most: float = 3) -> None:
        await asyncio.sleep(self.chance.uniform(least, most))

    # deeds

    async def kill_backend(self) -> None:
        n = self.some_backend()
        await self.rough.cluster.kill(n)
        await self.a_while()
        await self.rough.cluster.backends[n].start()

    async def restart_backend(self) -> None:
        n = self.some_backend()
        self.rough.cluster.signal(n, SIGTERM)
        await self.rough.cluster.backends[n].wait(15)
        await self.rough.cluster.backends[n].start()

    async def freeze_backend(self) -> None:
        n = self.some_backend()
        self.rough.cluster.freeze(n)
        await self.a_while(1, 14)
        self.rough.cluster.thaw(n)

    async def restart_redis(self) -> None:
        await self.rough.redis.program.end(SIGTERM)
        await self.a_while()
        await self.rough.redis.start()

    async def kill_redis(self) -> None:
        await self.rough.redis.program.end(SIGKILL)
        await self.a_while()
        await self.rough.redis.start()

    async def freeze_redis(self) -> None:
        self.rough.redis.freeze()
        await self.a_while(1, 6)
        self.rough.redis.thaw()

    async def cut_redis(self) -> None:
        self.rough.redis_link.cut()

    async def lose_answers(self) -> None:
        self.rough.redis_link.drop_fraction = 0.05
        await self.a_while()
        self.rough.redis_link.heal()

    async def slow_redis(self) -> None:
        self.rough.redis_link.delay = 0.1
        await self.a_while()
        self.rough.redis_link.heal()

    async def cut_wake_ups(self) -> None:
        async with connect(self.rough.redis.url) as client:
            await command(client, "CLIENT", "KILL", "TYPE", "pubsub")

    async def reload_nginx(self) -> None:
        self.rough.cluster.reload_nginx()

    async def kill_nginx(self) -> None:
        await self.rough.cluster.nginx.end()
        await self.a_while(0.1, 1)
        await self.rough.cluster.nginx.start()

    async def cut_model(self) -> None:
        self.rough.model_link.cut()


async def run(seconds: float, seed: int, where: Path) -> int:
    """Everything, and the number of violations."""
    chance = random.Random(seed)
    (where / "careful.toml").write_text(CAREFUL)
    async with rough_cluster(
        where,
        AGENTS_DIR=str(where),
        MEMORY_MAX_CONVERSATIONS="5000",
        MAX_RUNS="500",
        APPROVAL_TIMEOUT_SECONDS="10",  # what nobody hears of is over before the end
    ) as rough:
        rough.ollama.on("short", Reply(tokens=150, pace=0.02))
        rough.ollama.on("long", Reply(tokens=4000, pace=0.02))
        rough.ollama.default = Reply(tokens=2)
        until = time.monotonic() + seconds
        ledger = Ledger()
        visitors = [
            Visitor(
                f"v{n}", rough.cluster, ledger, random.Random(f"{seed}-{n}"), lambda: time.monotonic() < until
            )
            for n in range(VISITORS)
        ]
        chaos = Chaos(rough, chance)
        watch = Watch(rough)
        parts = (*(visitor.live() for visitor in visitors), chaos.reign(until), watch.watch(until))
        for failure in await asyncio.gather(*parts, return_exceptions=True):  # one that fails ends no other
            if isinstance(failure, BaseException):
                traceback.print_exception(failure)
                ledger.violations.append(f"the drill itself failed: {failure!r}")
        await rough.heal()
        ledger.violations += chaos.violations + chaos.keeper.violations + watch.violations
        ledger.violations += await final_checks(rough, ledger)
        ledger.violations += [f"{key} runs for ever" for key in await watch.running()]
    print(table(chaos, ledger))
    return len(ledger.violations)


async def final_checks(rough: Rough, ledger: Ledger) -> list[str]:
    """The invariants of every chat, after all is quiet."""
    found = []
    async with rough.cluster.client() as client:
        try:
            await assert_quiet(rough.cluster, client, [rough.ollama])
        except AssertionError as error:
            found.append(f"not quiet afterwards: {error} {await leftovers(rough.redis.url)}")
        for witness in ledger.witnesses:
            try:
                await assert_chat_holds(client, witness)
            except AssertionError as error:
                found.append(f"{witness.chat_id}: {error}")
    return found


def table(chaos: Chaos, ledger: Ledger) -> str:
    """What was done and what held."""
    rows = [f"\n{'what was done':<26}{'times':>6}{'median':>10}{'worst':>10}", "─" * 52]
    for name, fault in sorted(chaos.faults.items()):
        times = sorted(fault.recoveries)
        rows.append(f"{name:<26}{fault.times:>6}{times[len(times) // 2]:>8.2f} s{times[-1]:>8.2f} s")
    rows += [
        f"{'(from its end until a new message was answered)':<52}",
        "",
        f"{'what people did':<26}{'times':>6}",
        "─" * 32,
    ]
    rows += [f"{name:<26}{count:>6}" for name, count in sorted(ledger.done.items())]
    rows += [f"{'longest wait to be heard':<24}{ledger.longest_wait:>6.1f} s", ""]
    rows += [f"VIOLATION {violation}" for violation in ledger.violations]
    rows.append(f"{chaos.keeper.tried} questions in another's place, {chaos.keeper.refused} refused")
    faults = sum(fault.times for fault in chaos.faults.values())
    rows.append(f"{faults} faults, {len(ledger.witnesses)} chats, {len(ledger.violations)} violations")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument(
        "--logs", type=Path, default=None, help="folder for the logs (default: a new one in /tmp)"
    )
    options = parser.parse_args()
    where = options.logs or Path(tempfile.mkdtemp(prefix="chaos-"))
    where.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed}, {options.seconds:g} s, logs in {where}", flush=True)
    sys.exit(1 if asyncio.run(run(options.seconds, options.seed, where)) else 0)


if __name__ == "__main__":
    main()
