"""How much a model can read, and how heavy a text is in its eyes. Knows no provider."""

import re
from dataclasses import dataclass

_DENSE = re.compile(r"[^\w\s]|[\d_]")  # mostly a token each
TURN_WEIGHT = 16  # the marks that a template puts around a message


@dataclass(frozen=True, slots=True)
class Room:
    """The window of a model in tokens (0: unknown), those kept free for its reply, and the weight
    of the system prompt and the tools that come with every request. `tools`: whether any
    do; `sees`: whether it takes pictures.
    """

    window: int = 0
    reply: int = 0
    around: int = 0
    tools: bool = False
    sees: bool = True


def weight(text: str) -> int:
    """What a text weighs: about three for a token, in any language."""
    return len(text.encode("utf-8", "replace")) + 2 * len(_DENSE.findall(text))
