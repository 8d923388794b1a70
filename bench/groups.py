"""Control groups (1 or 2) of a measurement: as slow a core, and as little memory, as one likes for a server
under test. Linux, as root.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Process

PERIOD_US = 10_000  # short, so that a quota is a slow core and not one that stands still
ROOT = Path("/sys/fs/cgroup")
MB = 1024 * 1024


@dataclass
class Room:
    """What a part of the stack may have of memory, in MB, and the most that was seen of it."""

    group: Path
    limit: int
    before: float  # what it had when it came here; the kernel counts that elsewhere
    peak: float = 0.0

    def look(self) -> None:
        """Memory of its own, without the pages of files that the kernel may drop."""
        words = (self.group / "memory.stat").read_text().split()
        told = dict(zip(words[::2], words[1::2], strict=True))
        self.peak = max(self.peak, self.before + int(told.get("anon") or told["rss"]) / MB)

    def killed(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        told = next(path for name in _KILLS if (path := self.group / name).exists()).read_text().split()
        return int(told[told.index("oom_kill") + 1])


_LIMITS = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max")
_KILLS = ("memory.oom_control", "memory.events")


@contextlib.contextmanager
def slowed(process: Process, percent: int) -> Iterator[None]:
    """Leaves the process, and what it starts, so many percent of one core; 0 leaves it alone.

    Raises `OSError` where control groups cannot be written, or the process has real-time priority.
    """
    if not percent:
        yield
        return
    with _group(process, "cpu", "cpu.cfs_quota_us") as group:
        quota = PERIOD_US * percent // 100
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        _take(process, group)
        yield


@contextlib.contextmanager
def limited(process: Process, megabytes: int) -> Iterator[Room]:
    """Leaves the process, and what it starts, so much memory with what it has already; no swap."""
    with _group(process, "memory", "memory.limit_in_bytes") as group:
        room = Room(group, megabytes, process.rss_mb() * 1e6 / MB)
        left = str(int((megabytes - room.before) * MB))
        for name in _LIMITS:
            if (group / name).exists():
                (group / name).write_text(left)
        _take(process, group)
        yield room


@contextlib.contextmanager
def _group(process: Process, controller: str, file: str) -> Iterator[Path]:
    first = (ROOT / controller / file).exists()
    group = (ROOT / controller if first else ROOT) / f"bench-{os.getpid()}-{process.pid}"
    group.mkdir()
    try:
        yield group
    finally:
        _dissolve(group)


def _take(process: Process, group: Path) -> None:
    for pid in process.tree():
        (group / "cgroup.procs").write_text(str(pid))


def _dissolve(group: Path) -> None:
    """Its processes go back to the group above; one that is just ending may take a moment."""
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)
    for _ in range(100):
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.02)
