"""Stops: of one chat, and of many."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies.chats import Unsent
from app.api.bodies.messages import files_of
from app.api.bodies.runs import BulkAnswer, BulkBody, StopAnswer, StopBody
from app.api.here import Here, OneChat
from app.api.keys import Owner
from app.api.problems import answers
from app.backend import Backend
from app.chat.stop import Stopped
from app.errors import RedisUnavailable
from app.store.keys import Chat

router = APIRouter(prefix="/api/v1", tags=["stop"])

_HANDED_BACK = "Nothing is being made; what waited is handed back."
_MESSAGES = {
    "stopping": "The reply is being stopped.",
    "stopped": "The reply has stopped.",
    "already_finished": "The reply had already ended.",
    "owner_lost": "The backend that made the reply was lost; what it had written is kept.",
    "pending": "Nothing is being made yet; the stop waits for the reply to begin.",
}

Wait = Annotated[int, Query(ge=0, le=5000, description="Milliseconds to wait for the end")]


@router.post("/stop/bulk", status_code=202, responses=answers(413, 503), response_model_exclude_unset=True)
async def stop_many(body: BulkBody, here: Here, of: Owner, wait: Wait = 0) -> BulkAnswer:
    """Stop the replies of many chats."""
    chats = [Chat(of, chat_id) for chat_id in dict.fromkeys(body.chat_ids)]
    with here.stopping.gate(len(chats)):
        found = await here.stopping.stop_all(chats, wait)
    if all(isinstance(stopped, RedisUnavailable) for stopped in found):
        raise found[0]  # type: ignore[misc]  # they all are
    results = [_stop_answer(chat, stopped, here) for chat, stopped in zip(chats, found, strict=True)]
    successful = sum(answer.status == "accepted" for answer in results)
    return BulkAnswer(
        status="accepted",
        results=results,
        total=len(results),
        successful=successful,
        failed=len(results) - successful,
    )


@router.post(
    "/stop/{chat_id}", status_code=202, responses=answers(413, 503), response_model_exclude_unset=True
)
async def stop_chat(chat: OneChat, here: Here, body: StopBody | None = None, wait: Wait = 0) -> StopAnswer:
    """Stop the reply being made in a chat, on whichever backend it is made."""
    run_id, seen = (body.run_id, body.seen) if body else (None, None)
    return _stop_answer(chat, await here.stopping.stop(chat, run_id, wait, seen), here)


def _stop_answer(chat: Chat, stopped: Stopped | RedisUnavailable, here: Backend) -> StopAnswer:
    if isinstance(stopped, RedisUnavailable):
        return StopAnswer(
            chat_id=chat.id, status="failed", message=stopped.detail, run_id=None, result=None, stop_ms=None,
            backend=None, answered_by=here.settings.backend_id, unsent=[],
        )  # fmt: skip
    return StopAnswer(
        chat_id=chat.id,
        status="accepted",
        message=_HANDED_BACK if stopped.result == "pending" and stopped.unsent else _MESSAGES[stopped.result],
        run_id=stopped.run_id,
        result=stopped.result,
        stop_ms=stopped.stop_ms,
        backend=stopped.backend,
        answered_by=here.settings.backend_id,
        unsent=[Unsent(run_id=one.run_id, message=one.text, **files_of(one)) for one in stopped.unsent],
    )
