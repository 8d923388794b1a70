"""What a model takes, learned from what it refuses. Knows no provider."""

import re
from dataclasses import dataclass
from typing import Any

from loguru import logger
from strands.types.content import Messages

_NO_TOOLS = re.compile(
    r"(does not|doesn.t|do not|not) support.{0,20} (tool|function)"
    r"|(tool|function).{0,20} (use|calls?|calling|choice)?.{0,20}(is|are)? ?(not|n.t) (be )?supported"
    r"|tool.{0,12} (choice|param).{0,10} requires",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(
    r"(does not|doesn.t|do not|not) support.{0,20} (system|developer)"
    r"|(system|developer) (role|messages?|prompts?|instructions?).{0,12} not (supported|allowed|enabled)",
    re.IGNORECASE,
)


_NO_VISION = re.compile(
    r"(image|vision|visual|picture|multi-?modal|mmproj).{0,40}(not|n.t|un|only|missing|without)[ -]{0,2}"
    r"(be |yet |currently )?(support|allow|enabl|available|accept)"
    r"|(does not|doesn.t|do not|not|cannot|no endpoints found that) (currently )?(support|accept|allow|have)"
    r".{0,30}(image|vision|visual|picture|multi-?modal)"
    r"|not an? (multi-?modal|vision)|at most 0 image|missing data required for image"
    r"|image_url.{0,20}only supported|unknown variant .image_url",
    re.IGNORECASE,
)
_THIS_PICTURE = re.compile(r"format|size|dimension|resolution|too (large|big)|decod|corrupt", re.IGNORECASE)


@dataclass(slots=True)
class Abilities:
    """Hopeful until a refusal; shared by all runs of a model. `window`: tokens it can read, 0 when
    unknown; `known`: need not be asked again.
    """

    tools: bool = True
    system: bool = True
    vision: bool = True
    window: int = 0
    known: bool = False

    def learn(self, words: str, *, tools: bool, system: bool, pictures: bool = False) -> bool:
        """Whether these words refuse something that was sent (`tools`, `system`, `pictures`) and
        can be left out from now on.
        """
        if pictures and _NO_VISION.search(words) and not _THIS_PICTURE.search(words):
            self.vision = False
        elif tools and _NO_TOOLS.search(words):
            self.tools = False
        elif system and _NO_SYSTEM.search(words):
            self.system = False
        else:
            return False
        logger.info(
            "tools=<{}>, system=<{}>, vision=<{}> | learned what the model takes",
            *(self.tools, self.system, self.vision),
        )
        return True


def with_prompt(messages: Messages, prompt: str) -> Messages:
    """The messages with the system prompt before the words of the first turn."""
    first, *others = messages
    words: list[Any] = [{"text": prompt}, *first["content"]]
    if words[1:] and "text" in words[1]:
        words[:2] = [{"text": f"{prompt}\n\n{words[1]['text']}"}]
    return [{"role": first["role"], "content": words}, *others]
