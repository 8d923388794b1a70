"""Stops: of one chat, and of many."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies import BulkAnswer, BulkBody, StopAnswer, StopBody
from app.api.here import Here, OneChat
from app.api.keys import Owner
from app.api.problems import answers
from app.backend import Backend
from app.errors import RedisUnavailable
from app.store.keys import Chat

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


@router.post("/stop/bulk", status_code=202, responses=answers(413, 503))
async def stop_many(body: BulkBody, here: Here, of: Owner, wait: Wait = 0) -> BulkAnswer:
    """Stop the replies of many chats."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(chat_id: str) -> StopAnswer | RedisUnavailable:
        try:
            async with gate:
                return await _stop(Chat(of, chat_id), None, here, wait)
        except RedisUnavailable as error:
            return error

    chat_ids = list(dict.fromkeys(body.chat_ids))
    found = await asyncio.gather(*(one(chat_id) for chat_id in chat_ids))
    if all(isinstance(answer, RedisUnavailable) for answer in found):
        raise found[0]  # type: ignore[misc]  # they all are
    results = [_failed(chat_id, answer, here) for chat_id, answer in zip(chat_ids, found, strict=True)]
    successful = sum(answer.status == "accepted" for answer in results)
    return BulkAnswer(
        results=results, total=len(results), successful=successful, failed=len(results) - successful
    )


@router.post("/stop/{chat_id}", status_code=202, responses=answers(413, 503))
async def stop_chat(chat: OneChat, here: Here, body: StopBody | None = None, wait: Wait = 0) -> StopAnswer:
    """Stop the reply being made in a chat, on whichever backend it is made."""
    return await _stop(chat, body.run_id if body else None, here, wait)


async def _stop(chat: Chat, run_id: str | None, here: Backend, wait: int) -> StopAnswer:
    stopped = await here.stopping.stop(chat, run_id, wait)
    return StopAnswer(
        chat_id=chat.id,
        message=_MESSAGES[stopped.result],
        run_id=stopped.run_id,
        result=stopped.result,
        stop_ms=stopped.stop_ms,
        backend=stopped.backend,
        answered_by=here.settings.backend_id,
    )


def _failed(chat_id: str, answer: StopAnswer | RedisUnavailable, here: Backend) -> StopAnswer:
    if isinstance(answer, StopAnswer):
        return answer
    return StopAnswer(
        chat_id=chat_id, status="failed", message=answer.detail, run_id=None, result=None, stop_ms=None,
        backend=None, answered_by=here.settings.backend_id,
    )  # fmt: skip
