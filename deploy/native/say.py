"""How the commands speak: a line each, and an end with one line that says what to do."""

import sys
from typing import NoReturn


def say(line: str) -> None:
    """One line for the person who started us, at once."""
    print(line, flush=True)


def fail(line: str, code: int = 1) -> NoReturn:
    """The end of the command."""
    print(line, file=sys.stderr, flush=True)
    raise SystemExit(code)
