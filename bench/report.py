"""Results on disk: the rounds with machine, versions and commit, as JSON and as a page.

Owns the files in `bench/results/`; knows nothing of how the figures came about.
"""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.goals import goal_table, length_table, system_table
from bench.load import SHORT, Numbers
from bench.paced import table
from bench.processes import BENCH_CORE, ROOT, SERVER_CORE

RESULTS = ROOT / "bench" / "results"
USUAL = ("1x20", "50x20", "200x20", "200x80")  # streams x tokens/s
_PACKAGES = (
    "aiobotocore",
    "aiohttp",
    "fastapi",
    "httptools",
    "ollama",
    "redis",
    "strands-agents",
    "uvicorn",
    "uvloop",
)


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def commit() -> str:
    """The commit, with `-changed` when the product's folder differs from it."""
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + (
        "-changed" if _git("status", "-s", "app") else ""
    )


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in facts if line.startswith("model name")), platform.machine()
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "priority": scheduling(),
        "pinned": f"servers to core {SERVER_CORE}, everything else to core {BENCH_CORE}",
        "versions": {name: version(name) for name in _PACKAGES},
    }


def scheduling() -> str:
    """How the system shares the cores with us: real-time priority keeps other work from showing in the
    figures.
    """
    return {os.SCHED_RR: "real-time", os.SCHED_FIFO: "real-time"}.get(os.sched_getscheduler(0), "ordinary")


def written(
    at: datetime,
    on: dict[str, Any],
    sizes: dict[str, Any],
    rounds: Sequence[Numbers],
    broken: Sequence[dict[str, str]],
) -> Path:
    """Writes both files and returns the page's path."""
    result = {
        "at": at.isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": on,
        "sizes": sizes,
        "rounds": list(rounds),
        "broken": list(broken),
    }
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{at.date()}-{result['commit']}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    page = file.with_suffix(".md")
    page.write_text("\n".join(block(result)) + "\n")
    return page


def block(result: dict[str, Any]) -> list[str]:
    """Markdown: where and when, all tables, what could not be measured."""
    on, rounds = result["machine"], result["rounds"]
    packages = ", ".join(f"{name} {number}" for name, number in on["versions"].items())
    lines = [
        *summary(result, all_paced=True),
        "",
        *goal_table(rounds),
        "",
        "The ratio depends on how long a reply is, for a chat has a cost of its own:",
        "",
        *length_table(rounds),
        "",
        f"Versions: {packages}.",
    ]
    broken = sorted({name for notes in result["broken"] for name in notes})
    return [*lines, "", f"Not measured in every round: {', '.join(broken)}."] if broken else lines


def summary(result: dict[str, Any], *, all_paced: bool = False) -> list[str]:
    """Markdown: where and when, and the systems side by side, paced in the usual settings or in all."""
    on, sizes, rounds = result["machine"], result["sizes"], result["rounds"]
    return [
        f"Measured on {result['at'][:10]} at commit {result['commit']}: {on['cpu']}, {on['cores']} cores, "
        f"{on['memory_gb']} GB, {on['system']}, Python {on['python']}; {on['pinned']}. "
        f"Median of {len(rounds)} round{'s' if len(rounds) > 1 else ''}, ratios inside "
        f"one round; replies of {SHORT} "
        f"tokens unless said otherwise. {on['priority'].capitalize()} priority, load "
        f"before {on['load_before'][0]}. "
        f"{sizes['stops']} stops per setting, {sizes['alive']} calls left, "
        f"{sizes['leak']} chats in the leak check, "
        f"{sizes['seconds']} s per ceiling.",
        "",
        "People get tokens one by one:",
        "",
        *table([_paced(figures, all_paced) for figures in rounds if "paced.limit.50x20.cpu_us" in figures]),
        "",
        "Replies as fast as the model can send them:",
        "",
        *system_table(rounds),
    ]


def _paced(figures: Numbers, every: bool) -> Numbers:
    found = [(name.partition("."), value) for name, value in figures.items()]
    return {
        name: value
        for (what, _, name), value in found
        if what == "paced" and (every or name.split(".")[1] in USUAL)
    }


def newest() -> dict[str, Any]:
    """The latest result; raises when there is none."""
    results = [json.loads(file.read_text()) for file in RESULTS.glob("*.json")]
    if not results:
        raise FileNotFoundError("no results yet: run `make bench`")
    return dict(max(results, key=lambda result: str(result["at"])))


def now() -> datetime:
    """The time a run is filed under."""
    return datetime.now(UTC)
