"""Waiting in tests: ask again until it holds or the deadline passes; nothing here sleeps and hopes."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def eventually(ask: Callable[[], Any], *, within: float = 10, every: float = 0.01) -> Any:
    """The first true answer of `ask` (awaited where it is a coroutine); AssertionError when none came
    `within` s.
    """
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {within} s"
        await asyncio.sleep(every)
