"""Ports: which are free, which another stack of this machine counts on, and whose program listens on one.

A running stack claims its ports in the command line of its supervisor, which every user can read and which
is gone when it is: so also a port whose program is just starting again is left alone.
"""

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.native.say import fail, say

CLAIM = "chat-ports:"
_LOCK = (
    "\0fastapi-agent-chat choosing ports"  # abstract: of this machine, for every user, gone with its holder
)
_LISTENS = "0A"  # in /proc/net/tcp


def claim(ports: list[int]) -> str:
    """The word in the supervisor's command line."""
    return CLAIM + ",".join(map(str, ports))


def claimed() -> set[int]:
    """The ports of all stacks that run here."""
    found: set[int] = set()
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            for word in line.read_bytes().split(b"\0"):
                if match := re.fullmatch(rb"chat-ports:([0-9,]+)", word):
                    found |= {int(port) for port in match[1].split(b",")}
    return found


@contextlib.contextmanager
def one_stack_at_a_time(seconds: float = 60) -> Iterator[None]:
    """While one stack chooses, the others of this machine wait, until it has made its claim."""
    with socket.socket(socket.AF_UNIX) as lock:
        deadline, told = time.monotonic() + seconds, sys.platform != "linux"
        while sys.platform == "linux":
            try:
                lock.bind(_LOCK)
                break
            except OSError:
                if time.monotonic() > deadline:
                    fail(
                        "Another stack on this machine has been choosing its ports for a minute: is it stuck?"
                    )
                if not told:
                    say("Ports    waiting for another stack that starts")
                    told = True
                time.sleep(0.05)
        yield


def why_not(port: int, address: str = "") -> str | None:
    """Why nobody can listen there, or nothing."""
    if port in claimed():
        return "is taken by another stack"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen()
        except PermissionError:
            return "needs root"
        except OSError as error:
            return "is taken" if error.errno == 98 else f"cannot be had ({error.strerror})"
    return None


def free(first: int, count: int, avoid: set[int] | frozenset[int] = frozenset()) -> list[int]:
    """The first free ports from `first` on, which no stack claims."""
    taken = claimed() | avoid
    found: list[int] = []
    for port in range(first, first + 1000):
        if len(found) < count and port not in taken and why_not(port) is None:
            found.append(port)
    if len(found) < count:
        fail(f"No free port between {first} and {first + 999}")
    return found


def owns(pid: int, port: int) -> bool:
    """Whether this very process listens on the port: an answer from there may be anybody's."""
    try:
        listening = {
            fields[9]
            for table in ("/proc/net/tcp", "/proc/net/tcp6")
            for fields in (line.split() for line in Path(table).read_text().splitlines()[1:])
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port
        }
        held = {_target(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    except FileNotFoundError:
        return not Path("/proc/net/tcp").exists()  # the process is gone, or this is no Linux
    return bool(held & {f"socket:[{inode}]" for inode in listening})


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
