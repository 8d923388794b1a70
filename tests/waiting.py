"""Waiting in tests: ask again until it holds or the deadline passes; nothing here sleeps and hopes."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(ask: Callable[[], T | Awaitable[T]], *, within: float = 10, every: float = 0.01) -> T:
    """The first true answer of `ask`; raises AssertionError with the last one when none came in `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        value: T = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {within} s"
        await asyncio.sleep(every)
