"""Long and wide: stops while answers of Redis are lost, readers by the thousand, bad requests by the million.

`python -m tests.soak --minutes 60 --seed 7` prints its numbers; exit code 1 when anything was against the
contract. Half of the time at most goes to the stops, the rest to the requests; readers take what they need.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.world.bad_requests import Bad, BadRequests, wrong_with
from tests.world.client import own_address
from tests.world.cluster import Cluster
from tests.world.fakes.reply import HELD, Reply
from tests.world.rough import Rough, rough_cluster

STOPPERS = 96  # a lost answer holds up all replies of a backend for a second
MOST_STOPS = 100_000
MOST_REQUESTS = 1_000_000
ASKERS = 24
READERS_PER_MINUTE = 250
MOST_READERS = 10_000
MOST_GROWTH = 70_000  # bytes a reader, over three backends: 10,000 of them fit 0.8 GB
PATIENCE_SECONDS = 20.0
ENDED = rb'"outcome": "(\w+)"'
MOST_LATE = 0.001  # of the stops: on a machine that has nothing left a backend may not answer in 1.5 s


@dataclass
class Figures:
    """What was reached, and what was against the contract."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


# stops


async def stops(rough: Rough, figures: Figures, seed: int, until: float) -> None:
    """Stops while one answer of Redis in twenty is lost: none lost, none that hits the next reply."""
    rough.redis_link.drop_fraction = 0.05
    try:
        async with asyncio.TaskGroup() as group:
            for n in range(STOPPERS):
                group.create_task(stopper(rough, figures, random.Random(f"{seed}-{n}"), n, until))
    finally:
        figures.counts["answers of Redis lost"] = rough.redis_link.dropped
        late = figures.counts["of them after 1.5 s, by another backend"]
        if late > 1 + figures.counts["stops"] * MOST_LATE:
            figures.violations.append(f"{late} stops took another backend")
        rough.redis_link.heal()


async def stopper(rough: Rough, figures: Figures, chance: random.Random, n: int, until: float) -> None:
    asker = Asker(rough.cluster.port, own_address())
    count = 0
    while time.monotonic() < until and figures.counts["stops"] < MOST_STOPS:
        count += 1
        chat_id, run_id = f"soak-{n}-{count // 20}", f"soak-{n}-{count:06}"
        outcome = await asker.outcome_of(chat_id, run_id, "flowing", chance.randrange(1, 8))
        figures.counts["stops"] += 1
        if outcome == "backend_lost":
            figures.counts["of them after 1.5 s, by another backend"] += 1
        elif outcome != "stopped":
            figures.violations.append(f"{run_id}: stopped, and ended as {outcome}")
        if count % 4 == 0:
            after = await asker.outcome_of(chat_id, f"{run_id}-b", "short", None)
            figures.counts["replies behind a stop"] += 1
            if after == "stopped":
                figures.violations.append(f"{run_id}-b: nobody stopped it")


@dataclass
class Asker:
    """Asks and stops with as little work as it takes: thousands a minute come from one process."""

    port: int
    address: str

    async def outcome_of(self, chat_id: str, run_id: str, word: str, stop_after: int | None) -> str:
        """How a reply ended that is stopped after so many events; asked for again until somebody knows."""
        left = stop_after
        body = {"message": f"{word} of {run_id}", "run_id": run_id}
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            said = b""
            with contextlib.suppress(OSError, TimeoutError):
                async for more in self.answer(f"/api/v1/chat/{chat_id}?format=json", body):
                    said += more
                    if left is not None and said.count(b"\nid: ") >= left:
                        left = None if await self.stop(chat_id, run_id) else left
            if left is None and (found := re.search(rb'"(backend_lost)"', said) or re.search(ENDED, said)):
                return found[1].decode()
            await asyncio.sleep(0.05)
        return "nothing"

    async def stop(self, chat_id: str, run_id: str) -> bool:
        """Whether it was accepted."""
        told = b"".join([one async for one in self.answer(f"/api/v1/stop/{chat_id}", {"run_id": run_id})])
        return told.startswith(b"HTTP/1.1 202 ")

    async def answer(self, path: str, body: dict[str, str]) -> AsyncIterator[bytes]:
        """What comes on a connection of its own, head and all."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(self.address, 0))
        try:
            writer.write(posted(path, body))
            while more := await asyncio.wait_for(reader.read(65_536), PATIENCE_SECONDS):
                yield more
        finally:
            writer.transport.abort()


def posted(path: str, body: dict[str, str]) -> bytes:
    """One request."""
    sent = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    )
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(sent) + sent


# readers


async def readers(rough: Rough, figures: Figures, most: int) -> None:
    """Idle readers of one silent reply, a third on each backend; what all backends grow by."""
    before = memory(rough.cluster)
    async with rough.cluster.client() as client, client.chat("soak-readers", "held") as stream:
        await stream.until_text("word2")
        links = [await reader(rough.cluster.ports[n % 3 + 1]) for n in range(most)]
        grown = memory(rough.cluster) - before
        figures.counts["idle readers"] = len(links)
        figures.counts["MB that they take"] = grown // 1024 // 1024
        if grown > most * MOST_GROWTH + 30 * 1024 * 1024:
            figures.violations.append(f"{most} readers take {grown / most / 1024:.0f} KB each")
        began = time.monotonic()
        answer = await client.stop("soak-readers", wait=5000)
        if answer["result"] != "stopped":
            figures.violations.append(f"the stop of what they read: {answer['result']}")
        rests = await asyncio.gather(*(link[0].read() for link in links))
        figures.counts["ms until the last has heard the stop"] = round((time.monotonic() - began) * 1000)
        deaf = sum(b'"outcome": "stopped"' not in rest for rest in rests)
        if deaf:
            figures.violations.append(f"{deaf} readers never heard of the end")
        for _, writer in links:
            writer.close()


async def reader(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    link = await asyncio.open_connection("127.0.0.1", port, local_addr=(own_address(), 0))
    path = "/api/v1/chat/soak-readers/events?format=json"
    link[1].write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await link[0].readuntil(b"word2")
    return link


def memory(cluster: Cluster) -> int:
    """Bytes that the backends hold in memory."""
    pages = [int(Path(f"/proc/{one.pid}/statm").read_text().split()[1]) for one in cluster.backends.values()]
    return sum(pages) * resource.getpagesize()


# bad requests


async def bad_requests(rough: Rough, figures: Figures, seed: int, until: float) -> None:
    """Nobody gets a 5xx, an echo of what was sent, another form than problem+json, or no answer."""
    async with asyncio.TaskGroup() as group:
        for n in range(ASKERS):
            group.create_task(asker(rough.cluster.port, figures, BadRequests(f"{seed}-{n}"), until))


async def asker(port: int, figures: Figures, row: BadRequests, until: float) -> None:
    while time.monotonic() < until and figures.counts["bad requests"] < MOST_REQUESTS:
        link = await asyncio.open_connection("127.0.0.1", port, local_addr=(own_address(), 0))
        try:
            for _ in range(200):
                bad = row.next()
                figures.counts["bad requests"] += 1
                async with asyncio.timeout(PATIENCE_SECONDS):
                    status, headers, body = await answered(link, bad)
                figures.counts[f"answers {status // 100}xx"] += 1
                figures.counts["of them 429"] += status == 429
                if wrong := wrong_with(bad, status, headers, body):
                    figures.violations.append(f"{wrong}: {bad.data[:200]!r}")
                if headers.get("connection") == "close" or time.monotonic() > until:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            figures.counts["connections closed after a request"] += 1
        except TimeoutError:
            figures.violations.append(f"no answer: {bad.data[:200]!r}")
        finally:
            link[1].close()


async def answered(
    link: tuple[asyncio.StreamReader, asyncio.StreamWriter], bad: Bad
) -> tuple[int, dict[str, str], bytes]:
    read, write = link
    write.write(bad.data)
    head = (await read.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    status = int(head[0].split()[1])
    if bad.method == "HEAD" or status in {204, 304}:
        return status, headers | {"content-type": "application/problem+json"}, b""
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await read.readline(), 16):
            body += (await read.readexactly(size + 2))[:-2]
        await read.readline()
        return status, headers, body
    return status, headers, await read.readexactly(int(headers.get("content-length", 0)))


# everything


async def run(minutes: float, seed: int, where: Path) -> int:
    """Everything, and the number of violations."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    figures = Figures()
    most = min(MOST_READERS, int(minutes * READERS_PER_MINUTE), hard - 2000)
    async with rough_cluster(where) as rough:
        rough.ollama.on("flowing", Reply(tokens=1000, pace=0.05))
        rough.ollama.on("held", HELD)
        rough.ollama.default = Reply(tokens=3)
        began = time.monotonic()
        await stops(rough, figures, seed, began + minutes * 60 / 2)
        show(figures, began)
        await rough.heal()
        await readers(rough, figures, most)
        show(figures, began)
        await bad_requests(rough, figures, seed, max(time.monotonic() + 10, began + minutes * 60))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    show(figures, began)
    print(f"seed {seed}, {minutes:g} minutes, {len(figures.violations)} violations")
    return len(figures.violations)


def show(figures: Figures, began: float) -> None:
    """What has been reached by now."""
    print(f"after {(time.monotonic() - began) / 60:.0f} minutes")
    for name, count in figures.counts.items():
        print(f"{name:<40}{count:>10,}")
    print("".join(f"VIOLATION {one}\n" for one in figures.violations[:50]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    options = parser.parse_args()
    where = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {options.seed}, {options.minutes:g} minutes, logs in {where}", flush=True)
    sys.exit(1 if asyncio.run(run(options.minutes, options.seed, where)) else 0)


if __name__ == "__main__":
    main()
