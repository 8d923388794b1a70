"""The messages that wait in a chat until the reply before them has ended."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from app.api.bodies.chats import QueuedBody, TakenBack
from app.api.bodies.fields import RunId
from app.api.bodies.messages import files_of
from app.api.here import Here, OneChat
from app.api.problems import answers
from app.store.waiting import Waiting

router = APIRouter(prefix="/api/v1", tags=["chats"])

QUEUED: dict[int | str, dict[str, Any]] = {202: {"model": QueuedBody, "description": "The message waits"}}


@router.delete(
    "/chat/{chat_id}/queue/{run_id}", responses=answers(404, 503), response_model_exclude_unset=True
)
async def take_back(chat: OneChat, run_id: Annotated[RunId, Path()], here: Here) -> TakenBack:
    """Take back a message that waits."""
    waiting = await here.store.queues.take_back(chat, run_id)
    told = {"chat_id": chat.id, "run_id": waiting.run_id, "message": waiting.text, **files_of(waiting)}
    return TakenBack(status="taken_back", **told)


def queued(chat_id: str, waiting: Waiting) -> Response:
    """The answer to a message that waits."""
    body = QueuedBody(run_id=waiting.run_id, position=waiting.position, chat_id=chat_id)
    headers = {"X-Run-Id": waiting.run_id, "X-Chat-Id": chat_id}
    return Response(body.model_dump_json(), 202, headers, "application/json")
