"""Tool calls that wait for a person, and the answers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from app.events import iso
from app.store.approvals import Answer, AskedCall

For = Literal["once", "chat"]


class AskedBody(BaseModel):
    """A tool call that waits for a person; refused when `lapses_at` has passed."""

    tool_use_id: str
    name: str
    input: Any
    parent: str | None = Field(None, description="The call of the agent that makes this one for another")
    asked_at: str
    lapses_at: str

    @classmethod
    def of_call(cls, call: AskedCall) -> "AskedBody":
        return cls(
            tool_use_id=call.tool_use_id, name=call.name, input=call.input, asked_at=iso(call.asked_ms),
            lapses_at=iso(call.lapses_ms), **({"parent": call.parent} if call.parent else {}),
        )  # fmt: skip


class Approve(BaseModel):
    """What a person says to a tool call: carry it out or not, this once or always in this chat."""

    model_config = ConfigDict(extra="forbid")

    tool_use_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["tooluse_0001"])]
    approve: StrictBool
    lasts: For = Field(
        "once", alias="for", description="chat: the same for this tool in this chat from now on"
    )


class Approved(BaseModel):
    """The answer counts; the reply goes on."""

    chat_id: str
    run_id: str
    tool_use_id: str
    name: str
    status: Literal["allowed", "refused"]
    lasts: For = Field(serialization_alias="for")
    answered_by: str


class LastingAnswer(BaseModel):
    """What holds for a tool in this chat."""

    name: str
    status: Literal["allowed", "refused"]


class Lasting(BaseModel):
    """The tools that are not asked about any more in this chat, and what holds instead."""

    chat_id: str
    tools: list[LastingAnswer]

    @classmethod
    def of(cls, chat_id: str, answers: Mapping[str, Answer]) -> "Lasting":
        """Of what was answered, by tool; what cannot be read agrees to nothing."""
        tools = [
            LastingAnswer(name=name, status="allowed" if given == "allowed" else "refused")
            for name, given in answers.items()
        ]
        return cls(chat_id=chat_id, tools=tools)


class Forgotten(BaseModel):
    """The tools that are asked about again in this chat."""

    chat_id: str
    tools: list[str]
