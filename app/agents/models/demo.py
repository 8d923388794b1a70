"""The model without a key and without a network: scripted, paced, honest about it.

Tools and Markdown work for real.
"""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from typing import Any

from strands.models import Model
from strands.types.content import Messages
from strands.types.streaming import StreamEvent

from app.agents.models.provider import Provider
from app.agents.sniff import kind_of
from app.settings import Settings

_WORD = re.compile(r"\S+\s*|\s+")
_SUM = re.compile(r"\d[\d\s.()]*(?:[-+*/^]+\s*[\d(][\d\s.()]*)+")
_ZONE = re.compile(r"\b[A-Z][a-z]+/[A-Z][A-Za-z_]+\b")

_FILE = re.compile(r"^File ([^\n]+):\n(?:`{3,})\n(.*?)\n`{3,}$", re.MULTILINE | re.DOTALL)
PICTURE_TOKENS = 500

_HELLO = """\
This is the **demo model** speaking: nobody thinks here, but everything around me is real. {seen}

To talk to a real model, put one of these into `.env` and restart:

```bash
# a model on your own machine
PROVIDER=ollama
OLLAMA_MODEL_GENERAL=qwen2.5:3b-instruct

# or a model on AWS Bedrock
PROVIDER=bedrock
AWS_REGION=us-west-2
```

Things to try with me:

- ask for **a long story**, then press *Stop*, here or on another backend
- ask **what time it is**, or for a sum such as `12 * (3 + 4)`: I use a tool for that
- refresh the page in the middle of an answer
"""

_STORY = (
    "At the edge of the sea stood a lighthouse with three lamps, and each lamp had a keeper. ",
    "The keepers shared no words, only a slate on the stair, and whatever one wrote the others read. ",
    "One night a ship called out of the fog, and the first keeper began to answer "
    "with long and patient flashes. ",
    "The captain understood before the message was through and raised a red lantern: *enough*. ",
    "The second keeper saw the lantern and drew one line on the slate. ",
    "Before the ink of the fog had closed again, the first lamp went dark, in the middle of a word. ",
    "Not a word was lost, though: half a message stood on the slate, and whoever "
    "came up the stair could read it. ",
    "Then a storm took the first lamp, glass and all. ",
    "The third keeper climbed down, read the slate, and told the ship how far the message had come. ",
    "So it went every night, and no ship ever waited for an answer that nobody was giving. ",
)


_CODE = """\
Words of a text, counted, with nothing but the standard library:

```python
from collections import Counter

def most_used(text: str, count: int = 3) -> list[tuple[str, int]]:
    \"\"\"The words that are used most, the first ones first.\"\"\"
    return Counter(text.lower().split()).most_common(count)

print(most_used("the cat and the dog and the bird"))
# [('the', 3), ('and', 2), ('cat', 1)]
```

`Counter` counts whatever can be a key; `most_common` sorts it.
"""


class DemoModel(Model):
    """A Strands model that plays a script, so many tokens per second."""

    def __init__(self, tokens_per_second: float) -> None:
        self._pace = 1 / tokens_per_second

    def get_config(self) -> dict[str, Any]:
        return {"model_id": "demo"}

    def update_config(self, **_: Any) -> None:
        """There is nothing to configure."""

    async def structured_output(self, *_: Any, **__: Any) -> AsyncGenerator[dict[str, Any], None]:
        raise NotImplementedError
        yield {}

    async def stream(
        self, messages: Messages, tool_specs: Any = None, *_: Any, **__: Any
    ) -> AsyncGenerator[StreamEvent, None]:
        tools = {spec["name"] for spec in tool_specs or []}
        yield {"messageStart": {"role": "assistant"}}
        result, shown = _tool_result(messages), list(_came_along(messages))
        call = None if result or shown else _tool_call(_question(messages), tools)
        words = 0
        if call:
            for chunk in _call_chunks(*call):
                yield chunk
        else:
            yield {"contentBlockStart": {"start": {}}}
            for word in _WORD.findall(f"The tool says: **{result}**" if result else _script(messages, shown)):
                await asyncio.sleep(self._pace)
                words += 1
                yield {"contentBlockDelta": {"delta": {"text": word}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "tool_use" if call else "end_turn"}}
        blocks = [block for message in messages for block in message["content"]]
        asked = sum(PICTURE_TOKENS if "image" in block else len(str(block)) // 4 for block in blocks)
        usage = {"inputTokens": asked, "outputTokens": words, "totalTokens": asked + words}
        yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 0}}}  # type: ignore[typeddict-item]


def _question(messages: Messages) -> str:
    return " ".join(block["text"] for block in messages[-1]["content"] if "text" in block)


def _tool_result(messages: Messages) -> str | None:
    for block in messages[-1]["content"]:
        if "toolResult" in block:
            return " ".join(part.get("text", "") for part in block["toolResult"]["content"])
    return None


def _tool_call(question: str, tools: set[str]) -> tuple[str, dict[str, str]] | None:
    if "calculate" in tools and (found := _SUM.search(question)):
        return "calculate", {"expression": found[0].strip()}
    if "current_time" in tools and re.search(r"\b(time|clock|date|today|uhr)\b", question, re.IGNORECASE):
        zone = _ZONE.search(question)
        return "current_time", {"timezone": zone[0]} if zone else {}
    return None


def _call_chunks(name: str, arguments: dict[str, str]) -> Iterator[StreamEvent]:
    start = {"toolUse": {"name": name, "toolUseId": f"demo_{uuid.uuid4().hex[:16]}"}}
    yield {"contentBlockStart": {"start": start}}  # type: ignore[typeddict-item]
    yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(arguments)}}}}
    yield {"contentBlockStop": {}}


def _came_along(messages: Messages) -> Iterator[str]:
    """One line for each file that comes with the newest words."""
    for block in messages[-1]["content"]:
        if "image" in block:
            body = block["image"]["source"]["bytes"]
            kind = kind_of(body, "", len(body))
            yield f"a picture, {kind.media_type}, {kind.width} × {kind.height} pixels, {len(body):,} bytes"
    for name, text in _FILE.findall(_question(messages)):
        yield f"a text, {name}, {len(text.splitlines()):,} lines, {len(text):,} characters"


def _script(messages: Messages, shown: list[str]) -> str:
    if shown:
        return "Nobody looks at it here, but this is what came with your words:\n\n" + "".join(
            f"- {one}\n" for one in shown
        )
    question = _question(messages).lower()
    if re.search(r"\b(story|long|tale|count)\b", question):
        chapters = (f"## Chapter {n}\n\n{''.join(_STORY)}\n\n" for n in range(1, 13))
        return "# The lighthouse with three lamps\n\n" + "".join(chapters) + "*The end.*"
    if re.search(r"\b(python|code|program)\b", question):
        return _CODE
    earlier = sum(message["role"] == "user" for message in messages) - 1
    seen = f"I can see {earlier} earlier question{'s' * (earlier != 1)} of this chat." if earlier else ""
    return _HELLO.format(seen=seen)


async def open(settings: Settings, _: AsyncExitStack) -> Provider:
    """The demo model, whatever model an agent names."""
    return Provider("demo", "demo", lambda _: DemoModel(settings.demo_tokens_per_second))
