"""The words that several bodies and paths share, with what each may hold."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

CHAT_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
FILE_ID = r"^[0-9a-f]{64}$"
RUN_ID = r"^[A-Za-z0-9_-]{8,64}$"


def _not_bulk(chat_id: str) -> str:
    if chat_id == "bulk":
        raise ValueError("this id is reserved")
    return chat_id


def not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be only white space")
    return text


ChatId = Annotated[str, Field(pattern=CHAT_ID), AfterValidator(_not_bulk)]
RunId = Annotated[str, Field(pattern=RUN_ID)]
MessageText = Annotated[str, Field(min_length=1), AfterValidator(not_blank)]
FileId = Annotated[str, Field(pattern=FILE_ID)]
AgentName = Annotated[str, Field(min_length=1, max_length=64)]
Status = Literal["new", "active", "running"]
