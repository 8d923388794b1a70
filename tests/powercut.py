"""Everything killed at once, at a random moment under load, and started again: what people had is there.

`python -m tests.powercut --times 50 --seed 7` prints its figures; exit code 1 when something was lost.
The stack is the one that `make start` makes without Docker. What a machine that loses its power may lose
beyond this (the last second before, `appendfsync everysec`) no test of processes can show. Starts after a cut
take turns with starts after a stop, so that both meet the same load of the machine.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL

import httpx

from tests.world.checkout import Checkout
from tests.world.client import Client
from tests.world.waiting import eventually

PEOPLE = 8
LOAD_SECONDS = (1.0, 4.0)
MORE_SECONDS = 5.0  # starts after a cut may take so much longer than those after a stop
TICKS = os.sysconf("SC_CLK_TCK")
SETTLED_SECONDS = 30.0  # the promise is 15 for the runs of a lost backend
SETTINGS = {"PROVIDER": "demo", "DEMO_TOKENS_PER_SECOND": "400", "MEMORY_MAX_CONVERSATIONS": "1000000",
            "MEMORY_KEEP_MESSAGES": "1000", "MEMORY_TTL_MIN": "0"}  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """A reply whose terminal frame somebody has read."""

    chat_id: str
    run_id: str
    question: str
    outcome: str
    text: str


@dataclass(frozen=True)
class Start:
    """One `make start`: how long it took, and how long the processors worked for it."""

    seconds: float
    worked: float


@dataclass
class Figures:
    """What was done, and what was wrong."""

    ended: list[Ended] = field(default_factory=list)
    checked: int = 0
    clean: list[Start] = field(default_factory=list)  # one before each cut, and one after the last
    cut: list[Start] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_slow(self) -> bool:
        """Whether starts after a cut took longer than may be: the usual one, or the longest.

        Not each beside its neighbours: the load of a machine changes faster than one start follows another.
        """
        clean, cut = ([one.seconds for one in starts] for starts in (self.clean, self.cut))
        return bool(cut) and any(of(cut) > of(clean) + MORE_SECONDS for of in (statistics.median, max))

    def report(self) -> str:
        lines = [f"cuts {len(self.cut)}, replies read to their end {self.checked}"]
        for name, starts in (("a stop", self.clean), ("a cut", self.cut)):
            seconds, worked = spread([one.seconds for one in starts]), spread([one.worked for one in starts])
            lines.append(f"start after {name}: {seconds}; processors worked {worked}")
        lines.append("TOO LONG" if self.is_slow else "no start too long")
        lines += [f"{len(self.wrong)} WRONG" if self.wrong else "nothing lost, nothing stuck", *self.wrong]
        return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Least, middle, 90 of 100, and most."""
    if not values:
        return "-"
    found = sorted(values)
    at = [found[int(part * (len(found) - 1))] for part in (0, 0.5, 0.9, 1)]
    return " / ".join(f"{value:.1f}" for value in at) + " s"


async def drill(folder: Path, times: int, seed: int) -> Figures:
    """The whole drill in a checkout of its own below `folder`."""
    figures, chance = Figures(), random.Random(seed)
    checkout = Checkout(folder / "house")
    names = (f"cut-{seed}-{n}" for n in itertools.count())
    try:
        await started(checkout)  # the first one makes what later ones find
        await stopped_and_started(checkout, figures)
        for n in range(1, times + 1):
            await cut_under_load(checkout, figures, chance, names)
            figures.cut.append(await started(checkout))
            await check(checkout, figures)
            await stopped_and_started(checkout, figures)
            told = f"start {figures.cut[-1].seconds:.1f} s, after a stop {figures.clean[-2].seconds:.1f} and"
            told += f" {figures.clean[-1].seconds:.1f} s"
            print(f"cut {n}: {told}, load {os.getloadavg()[0]:.0f}, wrong {len(figures.wrong)}", flush=True)
    finally:
        await asyncio.to_thread(checkout.run, "stop")
    return figures


async def stopped_and_started(checkout: Checkout, figures: Figures) -> None:
    await asyncio.to_thread(checkout.run, "stop")
    figures.clean.append(await started(checkout))


async def started(checkout: Checkout) -> Start:
    """`make start`, less the making of the environment."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = await asyncio.to_thread(checkout.run, "start", **SETTINGS)
    assert done.returncode == 0, done.stdout + done.stderr
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    command = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Start(seconds, command + sum(worked(pid) for pid in inside(checkout.folder)))


def worked(pid: int) -> float:
    """Seconds that a process and those that it has outlived have had of a processor."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


async def cut_under_load(
    checkout: Checkout, figures: Figures, chance: random.Random, names: Iterator[str]
) -> None:
    """People talk; then everything is gone."""
    people = [asyncio.create_task(talk(checkout.url, figures, names)) for _ in range(PEOPLE)]
    await asyncio.sleep(chance.uniform(*LOAD_SECONDS))
    kill_all(checkout.folder)
    done, late = await asyncio.wait(people, timeout=20)
    for task in late:
        task.cancel()
    for task in done:
        task.result()


def kill_all(folder: Path) -> None:
    """SIGKILL for every process of this checkout, its supervisor first, so that it starts nothing again."""
    while found := inside(folder):
        for pid in sorted(found, key=_is_supervisor, reverse=True):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)


def inside(folder: Path) -> list[int]:
    """The processes of this checkout."""
    here = folder.resolve()
    return [int(one.name) for one in Path("/proc").glob("[0-9]*") if _is_inside(one, here)]


def _is_supervisor(pid: int) -> bool:
    try:
        return b"supervisord" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _is_inside(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").resolve().is_relative_to(folder)
    except OSError:
        return False


async def talk(url: str, figures: Figures, names: Iterator[str]) -> None:
    """Asks until nobody answers any more; three questions a chat."""
    with contextlib.suppress(httpx.HTTPError, AssertionError, OSError):
        async with Client(url) as client:
            while True:
                chat_id = next(names)
                for n in range(3):
                    question = f"question {n} of {chat_id}"
                    stream = await client.ask(chat_id, question)
                    if stream.outcome:
                        told = (chat_id, stream.run_id, question, stream.outcome, stream.text)
                        figures.ended.append(Ended(*told))


async def check(checkout: Checkout, figures: Figures) -> None:
    """Every reply that was read to its end is stored as it was read, no run is stuck, and chats go on."""
    cut = f"cut {len(figures.cut)}"
    async with Client(checkout.url) as client:
        for ended in figures.ended:
            if told := await what_is_wrong(client, ended):
                figures.wrong.append(f"{cut}: {ended.chat_id} {ended.run_id}: {told}")
        figures.checked += len(figures.ended)
        try:
            await eventually(lambda: none_run(client), within=SETTLED_SECONDS, every=0.2)
        except AssertionError:
            figures.wrong.append(f"{cut}: runs are stuck: {await client.get('/api/v1/runs')}")
        if figures.ended:
            again = await client.ask(figures.ended[-1].chat_id, "and now?")
            if again.outcome != "done":
                figures.wrong.append(f"{cut}: a chat does not go on: {again.outcome}")
    figures.ended.clear()


async def what_is_wrong(client: Client, ended: Ended) -> str | None:
    of_run = [one for one in await client.messages(ended.chat_id) if one.get("run_id") == ended.run_id]
    stored = [(one["role"], one["content"]) for one in of_run]
    if stored != [("user", ended.question), ("assistant", ended.text)]:
        return f"stored {[(role, len(content)) for role, content in stored]}, read {len(ended.text)}"
    outcome = of_run[1].get("outcome", "done")
    return None if outcome == ended.outcome else f"stored as {outcome}, read as {ended.outcome}"


async def none_run(client: Client) -> bool:
    return bool((await client.get("/api/v1/runs"))["count"] == 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="powercut-") as folder:
        figures = asyncio.run(drill(Path(folder), asked.times, asked.seed))
    print(f"seed {asked.seed}\n{figures.report()}")
    return int(bool(figures.wrong) or figures.is_slow)


if __name__ == "__main__":
    sys.exit(main())
