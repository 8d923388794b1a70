"""A reply as a whole, for doors that do not stream."""

import asyncio

from fastapi import Request

from app.errors import Draining, ModelFailure, RedisUnavailable
from app.events import End, Failure
from app.runs.readers import Reading


async def whole(reading: Reading, request: Request) -> End | None:
    """Waits for the end of the reply; None when the client has left, which ends the run."""
    gone = asyncio.create_task(_gone(request))
    ending = asyncio.create_task(reading.feed.end())
    try:
        await asyncio.wait({gone, ending}, return_when=asyncio.FIRST_COMPLETED)
        return ending.result() if ending.done() else None
    finally:
        gone.cancel()
        ending.cancel()
        reading.close()


def told_failure(failure: Failure | None) -> None:
    """Raises what made a reply fail; one that could only not be remembered is an answer all the same."""
    if failure is None:
        return
    if failure.code == Draining.code:
        raise Draining(failure.message)
    if failure.code != RedisUnavailable.code:
        raise ModelFailure(
            failure.code, failure.message, retry=failure.retry, retry_after=failure.retry_after
        )


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
