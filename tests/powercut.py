"""Everything killed at once, at a random moment under load, and started again: what people had is there.

`python -m tests.powercut --times 50 --seed 7` prints its figures; exit code 1 when something was lost.
The stack is the one that `make start` makes without Docker. What a machine that loses its power may lose
beyond this (the last second before, `appendfsync everysec`) no test of processes can show. While Redis syncs
its file it answers and writes later: replies of that moment are counted apart.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
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
LATE_SECONDS = 2.0  # while Redis syncs its file it writes nothing, for so long at most (appendfsync everysec)
MORE_SECONDS = 5.0  # a start after a cut may take so much longer than one after a stop
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
    at: float


@dataclass
class Figures:
    """What was done, and what was wrong."""

    cuts: int = 0
    ended: list[Ended] = field(default_factory=list)
    checked: int = 0
    clean_starts: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)  # lost, and read in the last two seconds before the cut
    cut_at: float = 0.0

    @property
    def is_slow(self) -> bool:
        """Whether a start took longer than may be."""
        return max(self.starts, default=0) > max(self.clean_starts, default=0) + MORE_SECONDS

    def report(self) -> str:
        clean, starts = max(self.clean_starts, default=0), sorted(self.starts) or [0.0]
        middle, most = starts[len(starts) // 2], starts[-1]
        lines = [
            f"cuts {self.cuts}, replies read to their end {self.checked}",
            f"start: {clean:.1f} s after a stop; after a cut {middle:.1f} s, at most {most:.1f} s",
            *(["TOO LONG"] if self.is_slow else []),
            f"replies of the last {LATE_SECONDS:.0f} s before a cut that are lost: {len(self.late)}",
            *self.late,
            *self.wrong,
            f"{len(self.wrong)} WRONG" if self.wrong else "nothing else lost, nothing stuck",
        ]
        return "\n".join(lines)


async def drill(folder: Path, times: int, seed: int, clean: int = 2, strict: bool = False) -> Figures:
    """The whole drill in a checkout of its own below `folder`; `clean` starts are timed before it.

    `strict`: Redis writes before it answers, so nothing at all may be lost.
    """
    figures, chance = Figures(), random.Random(seed)
    checkout = Checkout(folder / "house")
    if strict:
        config = checkout.folder / "deploy" / "redis.conf"
        config.write_text(config.read_text().replace("appendfsync everysec", "appendfsync always"))
    names = (f"cut-{seed}-{n}" for n in itertools.count())
    try:
        await started(checkout)  # the first one makes what later ones find
        for _ in range(clean):
            await asyncio.to_thread(checkout.run, "stop")
            figures.clean_starts.append(await started(checkout))
        for _ in range(times):
            await cut_under_load(checkout, figures, chance, names)
            figures.starts.append(await started(checkout))
            await check(checkout, figures)
            told = f"wrong {len(figures.wrong)}, late {len(figures.late)}"
            print(f"cut {figures.cuts}: start {figures.starts[-1]:.1f} s, {told}", flush=True)
    finally:
        await asyncio.to_thread(checkout.run, "stop")
    return figures


async def started(checkout: Checkout) -> float:
    """Seconds of `make start`, less the making of the environment."""
    began = time.monotonic()
    done = await asyncio.to_thread(checkout.run, "start", **SETTINGS)
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - began


async def cut_under_load(
    checkout: Checkout, figures: Figures, chance: random.Random, names: Iterator[str]
) -> None:
    """People talk; then everything is gone."""
    people = [asyncio.create_task(talk(checkout.url, figures, names)) for _ in range(PEOPLE)]
    await asyncio.sleep(chance.uniform(*LOAD_SECONDS))
    kill_all(checkout.folder)
    figures.cuts, figures.cut_at = figures.cuts + 1, time.monotonic()
    done, late = await asyncio.wait(people, timeout=20)
    for task in late:
        task.cancel()
    for task in done:
        task.result()


def kill_all(folder: Path) -> None:
    """SIGKILL for every process of this checkout, its supervisor first, so that it starts nothing again."""
    here = folder.resolve()
    found = {int(one.name): one for one in Path("/proc").glob("[0-9]*") if _is_inside(one, here)}
    supervisors = [pid for pid, one in found.items() if b"supervisord" in (one / "cmdline").read_bytes()]
    for pid in [*supervisors, *found]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)


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
                        figures.ended.append(Ended(*told, time.monotonic()))


async def check(checkout: Checkout, figures: Figures) -> None:
    """Every reply that was read to its end is stored as it was read, no run is stuck, and chats go on."""
    async with Client(checkout.url) as client:
        for ended in figures.ended:
            if told := await what_is_wrong(client, ended):
                is_late = figures.cut_at - ended.at < LATE_SECONDS
                into = figures.late if is_late else figures.wrong
                into.append(f"cut {figures.cuts}: {ended.chat_id} {ended.run_id}: {told}")
        figures.checked += len(figures.ended)
        try:
            await eventually(lambda: none_run(client), within=SETTLED_SECONDS, every=0.2)
        except AssertionError:
            figures.wrong.append(f"cut {figures.cuts}: runs are stuck: {await client.get('/api/v1/runs')}")
        if figures.ended:
            again = await client.ask(figures.ended[-1].chat_id, "and now?")
            if again.outcome != "done":
                figures.wrong.append(f"cut {figures.cuts}: a chat does not go on: {again.outcome}")
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
    parser.add_argument("--strict", action="store_true", help="with appendfsync always")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="powercut-") as folder:
        figures = asyncio.run(drill(Path(folder), asked.times, asked.seed, strict=asked.strict))
    print(f"seed {asked.seed}\n{figures.report()}")
    return int(bool(figures.wrong) or figures.is_slow)


if __name__ == "__main__":
    sys.exit(main())
