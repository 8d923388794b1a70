"""The older plain API, on the same engine: `POST /chat` and `GET /agents`."""

import asyncio
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from app.agents.catalog import Catalog
from app.api.access import owner
from app.api.chats import ChatId, MessageText, chats, check_length
from app.api.problems import answers
from app.api.sse import RunStream, plain_piece
from app.chat.send import Question
from app.errors import Draining, ModelFailure, RedisUnavailable
from app.events import Failure, reply_text
from app.runs.readers import Reading
from app.store.keys import Chat

router = APIRouter(tags=["older API"])


class OlderAsk(BaseModel):
    message: MessageText
    agent: str = Field("general", min_length=1, max_length=64)
    stream: bool = False
    conversation_id: ChatId | None = None


class OlderReply(BaseModel):
    reply: str
    conversation_id: str
    model: str
    provider: str
    outcome: str


_TEXT: dict[int | str, dict[str, Any]] = {200: {"description": "The reply", "content": {"text/plain": {}}}}


@router.post("/chat", response_model=OlderReply, responses=_TEXT | answers(400, 409, 413, 502, 503))
async def chat(ask: OlderAsk, request: Request, of: Annotated[str, Depends(owner)]) -> Any:
    """Send a message; the reply comes whole, or as plain text in pieces with `stream`."""
    check_length(ask.message, request)
    one = Chat(of, ask.conversation_id or uuid.uuid4().hex)
    question = Question(ask.message, ask.agent, uuid.uuid4().hex)
    reading = await chats(request).send(one, question, leaving_ends=True)
    if ask.stream:
        headers = {
            "X-Conversation-Id": one.id,
            "X-Run-Id": question.run_id,
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
        return RunStream(reading, plain_piece, "text/plain; charset=utf-8", headers)
    return await _whole(reading, one.id, request)


async def _whole(reading: Reading, conversation_id: str, request: Request) -> Any:
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
    settings = request.app.state.settings
    return OlderReply(
        reply=reply_text(reading.feed.events),
        conversation_id=conversation_id,
        model=getattr(reading.feed.events[0], "model", settings.model_id),
        provider=settings.provider,
        outcome=end.outcome,
    )


@router.get("/agents")
async def agent_names(request: Request, _: Annotated[str, Depends(owner)]) -> dict[str, list[str]]:
    """The names of the agents."""
    catalog: Catalog = request.app.state.answerer.catalog
    return {"agents": [agent.name for agent in catalog]}


@router.get("/api/v1/agents")
async def agents(request: Request, _: Annotated[str, Depends(owner)]) -> dict[str, Any]:
    """The agents, what they are for, their models and tools."""
    state = request.app.state
    listed = [
        {
            "name": agent.name,
            "description": agent.description,
            "provider": state.settings.provider,
            "model": state.answerer.model_id(agent.name),
            "tools": list(agent.tools),
        }
        for agent in state.answerer.catalog
    ]
    return {"agents": listed}


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
