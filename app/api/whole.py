"""A reply as a whole, for doors that do not stream."""

import asyncio
from collections.abc import Callable

from pydantic import BaseModel
from starlette.responses import Response

from app.api.access import Receive, Scope, Send
from app.errors import Draining, ModelFailure, RedisUnavailable
from app.events import End, Failure
from app.runs.readers import Reading


class Whole(Response):
    """Answers what `made` makes of the end of the reply; nothing where the client has left before, which
    ends the run. The request that asked is gone by then, and so is the conversation that it brought.
    """

    def __init__(self, reading: Reading, made: Callable[[End], Response]) -> None:
        super().__init__(status_code=204)
        self._reading = reading
        self._made = made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what made the reply fail."""
        end = await self._outcome_of(receive)
        _told_failure(end.error if end else None)
        answer = self._made(end) if end else Response(status_code=204)
        await answer(scope, receive, send)

    async def _outcome_of(self, receive: Receive) -> End | None:
        gone = asyncio.create_task(_gone(receive))
        ending = asyncio.create_task(self._reading.feed.end())
        try:
            await asyncio.wait({gone, ending}, return_when=asyncio.FIRST_COMPLETED)
            return ending.result() if ending.done() else None
        finally:
            gone.cancel()
            ending.cancel()
            self._reading.close()


def json_answer(body: BaseModel, headers: dict[str, str], *, whole: bool = True) -> Response:
    """This body; without `whole` less what is not there."""
    return Response(body.model_dump_json(exclude_none=not whole), 200, headers, "application/json")


def _told_failure(failure: Failure | None) -> None:
    """Raises what made a reply fail; one that could only not be remembered is an answer all the same."""
    if failure is None:
        return
    if failure.code == Draining.code:
        raise Draining(failure.message)
    if failure.code != RedisUnavailable.code:
        raise ModelFailure(
            failure.code, failure.message, retry=failure.retry, retry_after=failure.retry_after
        )


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
