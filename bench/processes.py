"""Processes of a measurement: started pinned to a core, read through /proc, ended by their own id.

Owns the operating system's side; knows nothing of what the processes do. Linux only.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, BENCH_CORE = CORES[-1], CORES[0]
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def pin_here() -> None:
    """Keeps this process, the load generator, off the server's core."""
    os.sched_setaffinity(0, {BENCH_CORE})


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One child and its own children; its output goes to `log`."""

    def __init__(self, command: list[str], core: int, env: dict[str, str], name: str) -> None:
        self.log = Path(tempfile.mkstemp(prefix=f"bench-{name}-", suffix=".log")[1])
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
                cwd=tempfile.gettempdir(),  # no .env of the working tree
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._child.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal to the child alone."""
        self._child.send_signal(number)

    def end(self) -> None:
        """Asks it to end, then insists."""
        self._child.terminate()
        try:
            self._child.wait(8)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def forget(self) -> None:
        """Ends it and removes its log."""
        self.end()
        self.log.unlink(missing_ok=True)

    def tree(self) -> list[int]:
        """Its own id and those of all its descendants."""
        parents = {
            int(entry.name): _parent(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()
        }
        found = [self.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu_seconds(self) -> float:
        """Processor time of the tree so far, from the scheduler's nanoseconds of every live thread."""
        return (
            sum(_thread_ns(task) for pid in self.tree() for task in _listed(Path(f"/proc/{pid}/task"))) / 1e9
        )

    def waits(self) -> int:
        """How often threads of the tree have gone to sleep so far, to be woken again."""
        return sum(_waits(task) for pid in self.tree() for task in _listed(Path(f"/proc/{pid}/task")))

    def rss_mb(self) -> float:
        """Resident memory of the tree, in MB of 10^6 bytes."""
        pages = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * _PAGE / 1e6

    def descriptors(self) -> int:
        """Open file descriptors of the tree."""
        return sum(len(_listed(Path(f"/proc/{pid}/fd"))) for pid in self.tree())

    def threads(self) -> int:
        """Threads of the tree."""
        return sum(len(_listed(Path(f"/proc/{pid}/task"))) for pid in self.tree())


def _listed(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def _parent(entry: Path) -> int:
    with contextlib.suppress(OSError):
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _thread_ns(task: Path) -> int:
    with contextlib.suppress(OSError):
        return int((task / "schedstat").read_text().split()[0])
    return 0


def _waits(task: Path) -> int:
    with contextlib.suppress(OSError):
        status = (task / "status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return 0


@contextlib.contextmanager
def running(command: list[str], core: int, name: str, env: dict[str, str] | None = None) -> Iterator[Process]:
    """A process for the length of a block."""
    process = Process(command, core, env or {}, name)
    try:
        yield process
    finally:
        process.forget()
