"""Files as a model is shown them: pictures as blocks beside the words, texts in front of the words. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from strands.types.content import Messages


@dataclass(frozen=True, slots=True)
class Shown:
    """A file that goes to a model; without a body only its name does."""

    name: str
    media_type: str
    body: bytes | None


NONE: Mapping[int, Sequence[Shown]] = MappingProxyType({})


def pictures(files: Sequence[Shown]) -> Iterator[dict[str, Any]]:
    """The blocks of the pictures among these files."""
    for file in files:
        if file.body is not None and file.media_type.startswith("image/"):
            kind = file.media_type.removeprefix("image/")
            yield {"image": {"format": kind, "source": {"bytes": file.body}}}


def in_front(files: Sequence[Shown], text: str) -> str:
    """The words, and before them the texts among these files and the names of those that are not shown."""
    return "\n\n".join([*filter(None, map(_put_in_words, files)), text])


def _put_in_words(file: Shown) -> str:
    if file.body is None:
        return f"[{file.name}: not shown]"
    if file.media_type.startswith("image/"):
        return ""
    text = file.body.decode("utf-8", "replace")
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"File {file.name}:\n{fence}\n{text}\n{fence}"


def has_picture(blocks: Sequence[Any]) -> bool:
    """Whether there is a picture among the blocks of a message."""
    return any("image" in block for block in blocks)


def without_pictures(messages: Messages) -> Messages:
    """The messages with words in the place of pictures, for a model that cannot see."""
    found = []
    for message in messages:
        blocks: list[Any] = [
            {"text": "[a picture: not shown]"} if "image" in block else block for block in message["content"]
        ]
        found.append({"role": message["role"], "content": blocks})
    return cast(Messages, found)
