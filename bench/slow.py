"""A machine as slow as one likes: a CPU quota for a server under test, by a control group (1 or 2) of its
own. Linux, as root.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench.processes import Process

PERIOD_US = 10_000  # short, so that a quota is a slow core and not one that stands still
ROOTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu"))


@contextlib.contextmanager
def slowed(process: Process, percent: int) -> Iterator[None]:
    """Leaves the process, and what it starts, so many percent of one core; 0 leaves it alone.

    Raises `OSError` where control groups cannot be written, or the process has real-time priority.
    """
    if not percent:
        yield
        return
    one, two = (root / f"bench-{os.getpid()}-{process.pid}" for root in ROOTS)
    group = two if (ROOTS[1] / "cpu.cfs_quota_us").exists() else one
    group.mkdir()
    try:
        _limit(group, PERIOD_US * percent // 100)
        for pid in process.tree():
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        _dissolve(group)


def _limit(group: Path, quota: int) -> None:
    if (group / "cpu.cfs_quota_us").exists():
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")


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
