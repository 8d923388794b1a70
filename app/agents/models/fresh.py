"""A connection that nobody has used before, for a second try. Knows no provider."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp


@asynccontextmanager
async def session_for(session: aiohttp.ClientSession, fresh: bool) -> AsyncIterator[aiohttp.ClientSession]:
    """This session; with `fresh` one of its own for one call, whose connection cannot have died unnoticed."""
    if not fresh:
        yield session
        return
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        timeout=session.timeout,
        headers=session.headers,
        trust_env=False,
    ) as one:
        yield one
