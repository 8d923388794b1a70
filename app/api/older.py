"""The older plain API, on the same engine: `POST /chat`."""

import uuid
from typing import Any

from fastapi import APIRouter

from app.api.bodies.service import OlderAsk, OlderReply
from app.api.chats import check_length
from app.api.here import Here
from app.api.keys import Owner
from app.api.problems import answers
from app.api.sse import RunStream, plain_piece
from app.api.whole import Whole, json_answer
from app.chat.question import Question
from app.events import End, reply_text
from app.runs.feed import Feed
from app.settings import Settings
from app.store.keys import Chat

router = APIRouter(tags=["older API"])

_TEXT: dict[int | str, dict[str, Any]] = {200: {"description": "The reply", "content": {"text/plain": {}}}}


@router.post("/chat", response_model=OlderReply, responses=_TEXT | answers(400, 409, 413, 502, 503))
async def chat(ask: OlderAsk, here: Here, of: Owner) -> Any:
    """Send a message; the reply comes whole, or as plain text in pieces with `stream`."""
    check_length(ask.message, here.settings)
    one = Chat(of, ask.conversation_id or uuid.uuid4().hex)
    question = Question(ask.message, ask.agent, uuid.uuid4().hex)
    reading = await here.chats.send(one, question, leaving_ends=True)
    if ask.stream:
        headers = {"X-Conversation-Id": one.id, "X-Run-Id": question.run_id}
        return RunStream(reading, plain_piece, "text/plain; charset=utf-8", headers, hello=b"", heartbeat=b"")
    return Whole(reading, lambda end: json_answer(_told_reply(reading.feed, end, here.settings), {}))


def _told_reply(feed: Feed, end: End, settings: Settings) -> OlderReply:
    return OlderReply(
        reply=reply_text(feed.events),
        conversation_id=feed.chat_id,
        model=getattr(feed.events[0], "model", settings.model_id),
        provider=settings.provider,
        outcome=end.outcome,
    )
