"""Whose checkout this is, and one command at a time in it."""

import contextlib
import fcntl
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from deploy.native.places import DATA, LOCK, PID, ROOT, RUN, socket_path
from deploy.native.say import fail, say


def only_the_owner(verb: str) -> None:
    """Ends with one line when somebody else has started the stack or owns its files."""
    paths = [RUN, DATA, PID, Path(socket_path()), LOCK, *_inside(DATA), *_inside(RUN)]
    strangers = {owner for path in paths if (owner := _owner(ROOT / path)) not in (None, os.getuid())}
    if not strangers:
        return
    name = _name(strangers.pop())
    repair = f"sudo -u {name} make {verb}"
    fail(
        f"run/ and data/ belong to {name}, who started the stack here: {repair}; or, once it is stopped, "
        f"take them over: sudo chown -R {_name(os.getuid())} run data .venv"
    )


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two commands in one checkout wait for each other."""
    (ROOT / RUN).mkdir(mode=0o700, exist_ok=True)
    with (ROOT / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another make is at work here: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _inside(folder: Path) -> list[Path]:
    try:
        return [folder / path.name for path in (ROOT / folder).iterdir()]
    except OSError:
        return []


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
