"""Stops and what they become; what runs."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.api.bodies.chats import Unsent
from app.api.bodies.fields import ChatId, RunId

Result = Literal["stopping", "stopped", "already_finished", "owner_lost", "pending"]


class StopBody(BaseModel):
    """Which run is meant (without it, whatever runs in the chat), and how much of it was seen."""

    run_id: RunId | None = None
    seen: Annotated[int, Field(ge=0, le=10**9)] | None = Field(
        None, description="Number of the last event on the screen; what is kept ends with it"
    )


class StopAnswer(BaseModel):
    """What became of a stop. `backend` holds the run, `answered_by` took the request."""

    chat_id: str
    status: str = "accepted"
    message: str
    run_id: str | None
    result: Result | None
    stop_ms: float | None
    backend: str | None
    answered_by: str
    unsent: list[Unsent] = Field(description="Messages that waited and are handed back")


class BulkBody(BaseModel):
    """Chats to stop; the same one twice counts once."""

    chat_ids: list[ChatId] = Field(min_length=1, max_length=1000)


class BulkAnswer(BaseModel):
    """One answer for each chat."""

    status: str = "accepted"
    results: list[StopAnswer]
    total: int
    successful: int
    failed: int


class RunBody(BaseModel):
    """A run on some backend."""

    run_id: str
    chat_id: str
    agent: str
    backend: str
    started_at: str
    asked: int = Field(0, description="Tool calls of it that wait for a person, where some do")


class RunsBody(BaseModel):
    """What runs now, oldest first."""

    runs: list[RunBody]
    count: int
