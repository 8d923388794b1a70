"""Stops, and what runs now."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from app.api.access import owner
from app.api.chats import ChatId, OneChat, RunId, memory
from app.api.problems import answers
from app.chat.stop import Stopped, Stopping
from app.errors import RedisUnavailable
from app.store.keys import Chat
from app.store.leases import Leases
from app.times import iso

router = APIRouter(prefix="/api/v1", tags=["stop"])

AT_ONCE = 32  # stops of one bulk request on their way to Redis at the same time

_MESSAGES = {
    "stopping": "The reply is being stopped.",
    "stopped": "The reply has stopped.",
    "already_finished": "The reply had already ended.",
    "owner_lost": "The backend that made the reply was lost; what it had written is kept.",
    "pending": "Nothing is being made yet; the stop waits for the reply to begin.",
}

Wait = Annotated[int, Query(ge=0, le=5000, description="Milliseconds to wait for the end")]


class StopBody(BaseModel):
    """Which run is meant; without it, whatever runs in the chat."""

    run_id: RunId | None = None


class StopAnswer(BaseModel):
    """What became of a stop. `backend` holds the run, `answered_by` took the request."""

    chat_id: str
    status: str = "accepted"
    message: str
    run_id: str | None
    result: str | None
    stop_ms: float | None
    backend: str | None
    answered_by: str


class BulkBody(BaseModel):
    chat_ids: list[ChatId] = Field(min_length=1, max_length=1000)


class BulkAnswer(BaseModel):
    status: str = "accepted"
    results: list[StopAnswer]
    total: int
    successful: int
    failed: int


@router.post("/stop/bulk", status_code=202, responses=answers(413, 503))
async def stop_many(
    body: BulkBody, request: Request, of: Annotated[str, Depends(owner)], wait: Wait = 0
) -> BulkAnswer:
    """Stop the replies of many chats."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(chat_id: str) -> StopAnswer | RedisUnavailable:
        try:
            async with gate:
                return await _stop(Chat(of, chat_id), None, request, wait)
        except RedisUnavailable as error:
            return error

    chat_ids = list(dict.fromkeys(body.chat_ids))
    found = await asyncio.gather(*(one(chat_id) for chat_id in chat_ids))
    if all(isinstance(answer, RedisUnavailable) for answer in found):
        raise found[0]  # type: ignore[misc]  # they all are
    results = [_failed(chat_id, answer, request) for chat_id, answer in zip(chat_ids, found, strict=True)]
    successful = sum(answer.status == "accepted" for answer in results)
    return BulkAnswer(
        results=results, total=len(results), successful=successful, failed=len(results) - successful
    )


@router.post("/stop/{chat_id}", status_code=202, responses=answers(413, 503))
async def stop_chat(
    chat: OneChat, request: Request, body: StopBody | None = None, wait: Wait = 0
) -> StopAnswer:
    """Stop the reply being made in a chat, on whichever backend it is made."""
    return await _stop(chat, body.run_id if body else None, request, wait)


@router.get("/runs", responses=answers(503))
async def list_runs(request: Request, of: Annotated[str, Depends(owner)]) -> dict[str, Any]:
    """What runs now, on all backends."""
    runs = await live_runs(request, of)
    return {"runs": runs, "count": len(runs)}


async def live_runs(request: Request, of: str) -> list[dict[str, Any]]:
    """The caller's live runs, oldest first."""
    leases: Leases = request.app.state.leases
    held = [one for one in await leases.all_held() if one.chat.owner == of]
    found = await memory(request).live([one.chat for one in held])
    runs = [
        {
            "run_id": live.run_id,
            "chat_id": one.chat.id,
            "agent": live.agent,
            "backend": live.backend,
            "started_at": iso(live.started_ms),
        }
        for one, live in zip(held, found, strict=True)
        if live and live.run_id == one.run_id
    ]
    return sorted(runs, key=lambda run: run["started_at"])


async def _stop(chat: Chat, run_id: str | None, request: Request, wait: int) -> StopAnswer:
    stopping: Stopping = request.app.state.stopping
    stopped: Stopped = await stopping.stop(chat, run_id, wait)
    return StopAnswer(
        chat_id=chat.id,
        message=_MESSAGES[stopped.result],
        run_id=stopped.run_id,
        result=stopped.result,
        stop_ms=stopped.stop_ms,
        backend=stopped.backend,
        answered_by=request.app.state.settings.backend_id,
    )


def _failed(chat_id: str, answer: StopAnswer | RedisUnavailable, request: Request) -> StopAnswer:
    if isinstance(answer, StopAnswer):
        return answer
    return StopAnswer(
        chat_id=chat_id, status="failed", message=answer.detail, run_id=None, result=None, stop_ms=None,
        backend=None, answered_by=request.app.state.settings.backend_id,
    )  # fmt: skip
