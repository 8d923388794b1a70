"""The older plain API, on the same engine: `POST /chat`."""

import asyncio
import uuid
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.bodies import OlderAsk, OlderReply
from app.api.chats import check_length
from app.api.here import Here
from app.api.keys import Owner
from app.api.problems import answers
from app.api.sse import RunStream, plain_piece
from app.backend import Backend
from app.chat.send import Question
from app.errors import Draining, ModelFailure, RedisUnavailable
from app.events import Failure, reply_text
from app.runs.readers import Reading
from app.store.keys import Chat

router = APIRouter(tags=["older API"])

_TEXT: dict[int | str, dict[str, Any]] = {200: {"description": "The reply", "content": {"text/plain": {}}}}


@router.post("/chat", response_model=OlderReply, responses=_TEXT | answers(400, 409, 413, 502, 503))
async def chat(ask: OlderAsk, request: Request, here: Here, of: Owner) -> Any:
    """Send a message; the reply comes whole, or as plain text in pieces with `stream`."""
    check_length(ask.message, here.settings)
    one = Chat(of, ask.conversation_id or uuid.uuid4().hex)
    question = Question(ask.message, ask.agent, uuid.uuid4().hex)
    reading = await here.chats.send(one, question, leaving_ends=True)
    if ask.stream:
        headers = {"X-Conversation-Id": one.id, "X-Run-Id": question.run_id}
        return RunStream(reading, plain_piece, "text/plain; charset=utf-8", headers)
    return await _whole(reading, one.id, request, here)


async def _whole(reading: Reading, conversation_id: str, request: Request, here: Backend) -> Any:
    """The reply when it is complete; a client that leaves ends the run."""
    gone = asyncio.create_task(_gone(request))
    ending = asyncio.create_task(reading.feed.end())
    try:
        await asyncio.wait({gone, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            return Response(status_code=204)  # nobody is there to read it
    finally:
        gone.cancel()
        ending.cancel()
        reading.close()
    end = ending.result()
    if end.error:
        _raise(end.error)
    return OlderReply(
        reply=reply_text(reading.feed.events),
        conversation_id=conversation_id,
        model=getattr(reading.feed.events[0], "model", here.settings.model_id),
        provider=here.settings.provider,
        outcome=end.outcome,
    )


def _raise(failure: Failure) -> None:
    """A reply that could only not be remembered is an answer all the same."""
    if failure.code == Draining.code:
        raise Draining(failure.message)
    if failure.code != RedisUnavailable.code:
        raise ModelFailure(
            failure.code, failure.message, retry=failure.retry, retry_after=failure.retry_after
        )


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
