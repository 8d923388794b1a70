"""What stands in a chat: its messages with their versions, the reply being made, what waits."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.api.bodies.approvals import AskedBody
from app.events import iso
from app.store.approvals import AskedCall
from app.store.records import ChatState, LiveRun, Message, Version
from app.store.waiting import Waiting


class FileBody(BaseModel):
    """A file of a chat; a picture has its size in pixels."""

    file_id: str
    media_type: str
    bytes: int
    name: str
    width: int | None = None
    height: int | None = None


class Removed(BaseModel):
    """The file is gone."""

    chat_id: str
    file_id: str
    status: Literal["deleted"] = "deleted"


class MessageBody(BaseModel):
    """One message. A reply tells how it ended, in `facts` who made it and what it used, in `parts`
    its steps.

    A step is `text`, `reasoning` or `tool`; `parts` is left out where there is only text.
    """

    role: str
    content: str
    created_at: str
    outcome: str | None = None
    run_id: str | None = None
    facts: dict[str, Any] | None = None
    parts: list[dict[str, Any]] | None = None
    files: list[FileBody] | None = None
    versions: list["VersionBody"] | None = None

    @classmethod
    def of(cls, message: Message) -> "MessageBody":
        """Only what there is to tell is set."""
        names = ("outcome", "run_id", "facts", "parts", "files")
        told = {name: getattr(message, name) for name in names}
        return cls(
            role=message.role,
            content=message.content,
            created_at=iso(message.created_ms),
            **{key: value for key, value in told.items() if value is not None},
        )


class VersionBody(BaseModel):
    """What stood in the place of a question, and behind it, before; `created_at` is the time of its
    question.
    """

    version: int
    created_at: str
    messages: list[MessageBody]


def with_versions(state: ChatState) -> list[MessageBody]:
    """The messages of a chat; a question that took the place of others has their versions, and so
    has one that stands in a version.
    """
    return _with_versions(state.messages, state, set())


def _with_versions(messages: Sequence[Message], state: ChatState, told: set[int]) -> list[MessageBody]:
    found = []
    for message in messages:
        body = MessageBody.of(message)
        older = [one for one in state.versions.get(message.mark, ()) if one.number not in told]
        told.update(one.number for one in older)
        if older:
            body.versions = [_version(one, state, told) for one in older]
        found.append(body)
    return found


def _version(one: Version, state: ChatState, told: set[int]) -> VersionBody:
    messages = _with_versions(one.messages, state, told)
    return VersionBody(version=one.number, created_at=messages[0].created_at, messages=messages)


class RunningBody(BaseModel):
    """The reply being made in a chat."""

    run_id: str
    agent: str
    backend: str
    started_at: str
    continues: bool = Field(False, description="What it says joins the last message")
    asked: list[AskedBody] = Field([], description="Tool calls that wait for a person, where some do")

    @classmethod
    def of(cls, live: LiveRun, asked: Sequence[AskedCall]) -> "RunningBody":
        more: dict[str, Any] = {"continues": True} if live.continues else {}
        more |= {"asked": [AskedBody.of_call(one) for one in asked]} if asked else {}
        return cls(
            run_id=live.run_id, agent=live.agent, backend=live.backend, started_at=iso(live.started_ms),
            **more,
        )  # fmt: skip


class WaitingBody(BaseModel):
    """A message that waits for the reply before it."""

    run_id: str
    message: str
    created_at: str
    files: list[FileBody] | None = None

    @classmethod
    def of(cls, waiting: Waiting) -> "WaitingBody":
        at = iso(waiting.created_ms)
        return cls(run_id=waiting.run_id, message=waiting.text, created_at=at, **files_of(waiting))


def files_of(waiting: Waiting) -> dict[str, Any]:
    """The files that a waiting message names, where it names some."""
    return {"files": waiting.files} if waiting.files else {}
