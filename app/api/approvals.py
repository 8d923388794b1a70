"""What a person says to tool calls that wait for it."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies.approvals import Approve, Approved, Forgotten, Lasting
from app.api.here import Here, OneChat
from app.api.problems import answers

router = APIRouter(prefix="/api/v1", tags=["approval"])


@router.post("/chat/{chat_id}/approve", responses=answers(404, 409, 413, 503))
async def approve_call(chat: OneChat, body: Approve, here: Here) -> Approved:
    """Agree to a tool call that waits, or refuse it, on any backend; the first answer counts."""
    call = await here.approving.decide(chat, body.tool_use_id, approve=body.approve, lasting=body.lasts)
    return Approved(
        chat_id=chat.id,
        run_id=call.run_id,
        tool_use_id=call.tool_use_id,
        name=call.name,
        status="allowed" if body.approve else "refused",
        lasts=body.lasts,
        answered_by=here.settings.backend_id,
    )


@router.get("/chat/{chat_id}/approve", responses=answers(503))
async def read_approvals(chat: OneChat, here: Here) -> Lasting:
    """What was answered for the whole chat: the tools that are not asked about any more."""
    return Lasting.of(chat.id, await here.store.approvals.lasting(chat))


@router.delete("/chat/{chat_id}/approve", responses=answers(503))
async def forget_approvals(
    chat: OneChat,
    here: Here,
    tool: Annotated[str | None, Query(description="Only this one", max_length=200)] = None,
) -> Forgotten:
    """Forget what was answered for the whole chat, or for one tool: it is asked about again."""
    return Forgotten(chat_id=chat.id, tools=await here.store.approvals.forget_lasting(chat, tool))
