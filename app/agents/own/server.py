"""The process that forks: it has loaded Strands once, and makes of itself a process for each use of a
tool.

It runs none of the user's code, so nothing in there can harm it. Whatever a call has started ends with
the call; everything ends when the backend does. Asked over one socket: `S` and a number, with two
descriptors (the line of the new process, and where its prints go), or `K` and a number.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable

Live = Callable[[int, int], None]  # the life of a child: its line, and where its prints go
ASKED = struct.Struct("!cI")
TOLD = struct.Struct("!cII")  # P number pid: it runs; E number status: it has ended; R hidden pid: ready
PRIVATE = (".env", "run", "data", "backups")  # settings and what remembers them, and all chats
NO_FILTER = 3  # exit code: this kernel cannot keep a process from the network


def begin(control: int, network: bool, memory_mb: int, home: str) -> None:
    """Serves until the backend has gone, which works in `home`. Its environment never came here."""
    from app.agents.own import shut

    shut.first_to_go()
    if not network and not shut.from_network():
        sys.exit(NO_FILTER)
    private = [os.path.join(place, name) for place in (os.getcwd(), home) for name in PRIVATE]
    hidden = shut.from_files(["/proc", *private])
    from app.agents.own import child  # brings Strands

    server = _Server(socket.socket(fileno=control), lambda line, out: child.be_worker(line, out, memory_mb))
    server.serve(hidden)


class _Server:
    def __init__(self, control: socket.socket, live: Live) -> None:
        self._control = control
        self._live = live
        self._running: dict[int, int] = {}  # pid: number
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)

    def serve(self, hidden: bool) -> None:
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM):  # meant for the backend, which ends us
            signal.signal(number, signal.SIG_IGN)
        gc.collect()
        gc.freeze()  # a collection in a child would copy what is shared
        self._control.sendall(TOLD.pack(b"R", hidden, os.getpid()))
        while self._step():
            pass
        for pid in self._running:
            _kill_group(pid)

    def _step(self) -> bool:
        asked = self._control.fileno()
        ready, _, _ = select.select([asked, self._woken], [], [])
        if self._woken in ready:
            os.read(self._woken, 4096)
            self._reap()
        return asked not in ready or self._obey()

    def _obey(self) -> bool:
        """Does what is asked; False when there is nobody any more who could."""
        try:
            data, given, _, _ = socket.recv_fds(self._control, ASKED.size, 2)
        except ConnectionError:
            return False
        if len(data) < ASKED.size:
            return False
        what, number = ASKED.unpack(data)
        if what == b"S":
            self._fork(number, *given)
        else:
            for pid in [pid for pid, theirs in self._running.items() if theirs == number]:
                _kill_group(pid)
        return True

    def _fork(self, number: int, line: int, out: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(line, out, parent)
        os.close(line)
        os.close(out)
        self._running[pid] = number
        self._report(b"P", number, pid)

    def _become(self, line: int, out: int, parent: int) -> None:
        from app.agents.own import shut

        code = 1
        try:
            os.setsid()
            if shut.with_its_parent(signal.SIGKILL, parent):
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                for open_one in (self._control.fileno(), self._woken, self._wake):
                    os.close(open_one)
                self._live(line, out)
                code = 0
        except BaseException:  # noqa: BLE001  # the root of a process
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Ends what the ended have left behind, while their numbers are still theirs."""
        while self._running:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            _kill_group(ended.si_pid)
            os.waitpid(ended.si_pid, 0)
            self._report(b"E", self._running.pop(ended.si_pid), ended.si_status)

    def _report(self, what: bytes, number: int, value: int) -> None:
        with contextlib.suppress(ConnectionError):  # nobody is there: the next look at the socket says so too
            self._control.sendall(TOLD.pack(what, number, value))


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # a process that is not yet the first of its group has none
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    begin(int(sys.argv[1]), sys.argv[2] == "network", int(sys.argv[3]), sys.argv[4])
