"""Between Strands and a model, for one run: text and reasoning go to the run at once, to Strands as one.

Its messages, tools and hooks work as ever, and a token costs next to nothing here.
"""

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Protocol

from strands.models import Model
from strands.types.streaming import StreamEvent

from app.agents.failures import TruncatedStream
from app.events import Tool

MOST_SHOWN = 2000  # characters of a tool's input or output that the stream carries


class Sink(Protocol):
    """Where an answer goes: `app.runs.run.Run`."""

    def asked(self) -> None: ...
    def busy(self) -> None: ...
    def text(self, text: str) -> None: ...
    def reasoning(self, text: str) -> None: ...
    def tool(self, event: Tool) -> None: ...
    def used(self, input_tokens: int, output_tokens: int) -> None: ...


class TeeModel(Model):
    """Stands before a model for one run: text goes to the run at once, to Strands once its block is whole."""

    def __init__(self, model: Model, run: Sink) -> None:
        self._model = model
        self._run = run
        self._names: dict[str, str] = {}

    def get_config(self) -> Any:
        return self._model.get_config()

    def update_config(self, **config: Any) -> None:
        self._model.update_config(**config)

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        return self._model.structured_output(*args, **kwargs)

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamEvent, None]:
        self._run.asked()
        block = _Block()
        complete = False
        upstream = self._model.stream(*args, **kwargs)
        async for chunk in upstream:
            if "contentBlockDelta" in chunk:
                delta = chunk["contentBlockDelta"]["delta"]
                if "text" in delta:
                    self._run.text(delta["text"])
                    block.text.append(delta["text"])
                    continue
                if thought := (delta.get("reasoningContent") or {}).get("text"):
                    self._run.reasoning(thought)
                    block.reasoning.append(thought)
                    continue
                if "toolUse" in delta:
                    block.tool_input.append(delta["toolUse"]["input"])
            elif "contentBlockStart" in chunk:
                block = _Block(chunk["contentBlockStart"].get("start", {}).get("toolUse"))  # type: ignore[arg-type]
            elif "contentBlockStop" in chunk:
                for merged in block.merged():
                    yield merged
                self._called(block)
                block = _Block()
            elif "messageStop" in chunk:
                complete = True
            elif "metadata" in chunk:
                usage = chunk["metadata"]["usage"]
                self._run.used(usage["inputTokens"], usage["outputTokens"])
            yield chunk
        if not complete:
            raise TruncatedStream

    def finished(self, result: dict[str, Any]) -> Tool:
        """The event for the result of a tool call."""
        used = result["toolUseId"]
        output = "\n".join(part["text"] if "text" in part else json.dumps(part) for part in result["content"])
        self._run.asked()
        status = "failed" if result.get("status") == "error" else "done"
        return Tool(used, self._names.get(used, ""), status, None, output[:MOST_SHOWN])  # type: ignore[arg-type]

    def _called(self, block: "_Block") -> None:
        if not block.tool:
            return
        used, name = block.tool["toolUseId"], block.tool["name"]
        self._names[used] = name
        self._run.tool(Tool(used, name, "running", block.input()))
        self._run.busy()


class _Block:
    """What a content block has brought so far."""

    def __init__(self, tool: dict[str, str] | None = None) -> None:
        self.tool = tool
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.tool_input: list[str] = []

    def merged(self) -> Iterator[StreamEvent]:
        """The held back text as the one piece that Strands gets."""
        if self.reasoning:
            yield {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "".join(self.reasoning)}}}}
        if self.text:
            yield {"contentBlockDelta": {"delta": {"text": "".join(self.text)}}}

    def input(self) -> Any:
        """The tool's input; text where it is no JSON or too long to show."""
        written = "".join(self.tool_input)
        try:
            return json.loads(written or "{}") if len(written) <= MOST_SHOWN else written[:MOST_SHOWN] + "…"
        except ValueError:
            return written
