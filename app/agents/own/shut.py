"""What the process of a tool is kept from: the network, the memory and the environment of others, leaving
its group, more memory than its share.

By two means of Linux that need no privilege and hold in containers that have none: filters of system
calls (seccomp), and rules about files (Landlock). Knows no tool; needs only Python itself.
"""

import contextlib
import ctypes
import errno
import os
import platform
import resource
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

CORE_BYTES = 0
FILE_BYTES = 64 * 1024 * 1024  # that a tool may write
MOST_FILES = 256
CPU_SECONDS = 7200  # a tool that nobody is left to kill

# linux/audit.h, and the numbers of the calls on each kind of machine
_GENERIC = {
    "setpgid": 154, "setsid": 157, "ptrace": 117, "socket": 198, "bind": 200, "connect": 203,
    "process_vm_readv": 270, "process_vm_writev": 271, "io_uring_setup": 425, "pidfd_getfd": 438,
}  # fmt: skip
_MACHINES = {
    ("x86_64", 8): (0xC000003E, {
        "setpgid": 109, "setsid": 112, "ptrace": 101, "socket": 41, "bind": 49, "connect": 42,
        "process_vm_readv": 310, "process_vm_writev": 311, "io_uring_setup": 425, "pidfd_getfd": 438,
    }),
    ("aarch64", 8): (0xC00000B7, _GENERIC),
    ("riscv64", 8): (0xC00000F3, _GENERIC),
    ("aarch64", 4): (0x40000028, _ARM := {
        "setpgid": 57, "setsid": 66, "ptrace": 26, "socket": 281, "bind": 282, "connect": 283,
        "process_vm_readv": 376, "process_vm_writev": 377, "io_uring_setup": 425, "pidfd_getfd": 438,
    }),
    ("armv7l", 4): (0x40000028, _ARM),
    ("armv6l", 4): (0x40000028, _ARM),
}  # fmt: skip
_NETWORK = ("socket", "bind", "connect", "io_uring_setup")
_OTHERS = ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd")
_GROUP = ("setsid", "setpgid")
_X32 = 0x40000000  # calls of another kind, on the same machine
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NO_NEW_PRIVS, _SECCOMP, _DEATH_SIGNAL = 38, 22, 1
_CREATE, _ADD, _RESTRICT, _READ_FILE = 444, 445, 446, 1 << 2  # linux/landlock.h


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def from_network() -> bool:
    """Takes the network, and the memory of others, from this process and all that it starts. Whether it
    is so is tried.
    """
    _refuse({**dict.fromkeys(_NETWORK + _OTHERS, errno.EACCES)})
    try:
        socket.socket().close()
    except PermissionError:
        return True
    return False


def in_group() -> None:
    """Keeps what this process starts in its group, so that one signal ends all: asking to leave it does
    nothing.
    """
    _refuse(dict.fromkeys(_GROUP, 0))


def in_bounds(memory_bytes: int) -> None:
    """Bounds what this process may take; each of those it starts as well."""
    wanted = {
        resource.RLIMIT_DATA: memory_bytes,
        resource.RLIMIT_CORE: CORE_BYTES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: MOST_FILES,
        resource.RLIMIT_CPU: CPU_SECONDS,
    }
    for kind, share in wanted.items():
        _, hard = resource.getrlimit(kind)
        most = share if hard == resource.RLIM_INFINITY else min(share, hard)
        resource.setrlimit(kind, (most, most))


def with_its_parent(signal_number: int, parent: int) -> bool:
    """Ends this process when the one that started it does; False when that has ended already."""
    _prctl(_DEATH_SIGNAL, signal_number)
    return os.getppid() == parent


def from_files(hidden: list[str]) -> bool:
    """Takes what is in these places from this process and all that it starts; False where the kernel
    cannot. What comes later into a folder with a hidden place in it is hidden too.
    """
    rules = _landlock(_CREATE, ctypes.byref(ctypes.c_uint64(_READ_FILE)), 8, 0)
    if rules < 0:
        return False
    places = [find(path) for path in hidden for find in (os.path.abspath, os.path.realpath)]
    for path in _beside(places, "/"):
        with contextlib.suppress(OSError):
            place = os.open(path, os.O_PATH)
            _landlock(_ADD, rules, 1, struct.pack("=Qi", _READ_FILE, place), 0)
            os.close(place)
    _prctl(_NO_NEW_PRIVS, 1)
    done = _landlock(_RESTRICT, rules, 0) == 0
    os.close(rules)
    return done


def _beside(hidden: list[str], folder: str) -> Iterator[str]:
    """What is in this folder, but not in one of these places."""
    try:
        entries = list(os.scandir(folder))
    except OSError:  # may not be listed: then all in it is hidden
        return
    for entry in entries:
        if any(place.startswith(f"{entry.path}/") for place in hidden):
            yield from _beside(hidden, entry.path)
        elif entry.path not in hidden and not entry.is_symlink():  # its end stands somewhere itself
            yield entry.path


def first_to_go() -> None:
    """Lets the kernel take this process rather than another one when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    except OSError:  # not everywhere
        pass


def _refuse(answers: dict[str, int]) -> None:
    """Answers these calls with these errors, 0 for "done"; in vain where the kernel has no filter."""
    machine = _MACHINES.get((platform.machine(), struct.calcsize("P")))
    if sys.platform != "linux" or machine is None:
        return
    kind, numbers = machine
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, kind), (_RETURN, 0, 0, _ERROR | errno.EACCES)]
    steps += [(_LOAD, 0, 0, 0), (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _ERROR | errno.EACCES)]
    for name, error in answers.items():
        steps += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ERROR | error)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    program = _Program(len(steps), code)
    _prctl(_NO_NEW_PRIVS, 1)
    _prctl(_SECCOMP, 2, ctypes.addressof(program))


def _landlock(call: int, *words: Any) -> int:
    """One of its system calls, which have the same numbers everywhere; -1 where there is none."""
    if sys.platform != "linux":
        return -1
    sized = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    return int(ctypes.CDLL(None).syscall(ctypes.c_long(call), *sized))


def _prctl(option: int, value: int, pointer: int = 0) -> None:
    if sys.platform == "linux":
        call = ctypes.CDLL(None, use_errno=True).prctl
        words = [ctypes.c_ulong(word) for word in (value, pointer, 0, 0)]
        call(ctypes.c_int(option), *words)
