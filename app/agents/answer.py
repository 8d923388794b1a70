"""One answer: a Strands agent, built for this turn and thrown away, whose words go straight into the run.

Text and reasoning are teed off at the model, before Strands sees them, and reach Strands as one piece per
block: its messages, tools and hooks work as ever, and a token costs next to nothing here.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

from strands import Agent
from strands.agent.conversation_manager import NullConversationManager
from strands.models import Model
from strands.types.content import Messages
from strands.types.exceptions import MaxTokensReachedException
from strands.types.streaming import StreamEvent

from app.agents.catalog import AgentFile, Catalog
from app.agents.failures import TruncatedStream, translated
from app.agents.models.choice import Models
from app.agents.tools import TOOLS
from app.agents.tracing import trace_only_when_collected
from app.events import Tool
from app.settings import Settings

MOST_MODEL_CALLS = 12  # a model that calls tools for ever is ended here
MOST_SHOWN = 2000  # characters of a tool's input or output that the stream carries


class Sink(Protocol):
    """Where an answer goes: `app.runs.run.Run`."""

    def asked(self) -> None: ...
    def busy(self) -> None: ...
    def text(self, text: str) -> None: ...
    def reasoning(self, text: str) -> None: ...
    def tool(self, event: Tool) -> None: ...
    def used(self, input_tokens: int, output_tokens: int) -> None: ...


class Answerer:
    """Opened once per process by `async with`."""

    def __init__(self, settings: Settings) -> None:
        self.catalog = Catalog(settings.agents_dir)
        trace_only_when_collected()
        self._models = Models(settings)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Answerer":
        await self._stack.enter_async_context(self._models)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def model_id(self, agent: str) -> str:
        """The model this agent answers with. Raises `UnknownAgent`."""
        return self._models.id_for(self.catalog.get(agent))

    async def answer(self, agent: str, turns: list[tuple[str, str]], run: Sink) -> str:
        """Pours the answer to the last of these turns into the run; the model's stop reason.

        Raises `ModelFailure`.
        """
        chosen = self.catalog.get(agent)
        try:
            return await self._stream(chosen, turns, run)
        except MaxTokensReachedException:
            return "max_tokens"
        except asyncio.CancelledError as stopped:
            raise stopped.with_traceback(
                None
            ) from None  # a frame of Strands holds it: the whole turn would linger
        except Exception as error:
            failure = translated(error)
            if failure is None:
                raise
            raise failure from error

    async def _stream(self, chosen: AgentFile, turns: list[tuple[str, str]], run: Sink) -> str:
        model = self._models.model_for(chosen)
        history: Messages = [{"role": role, "content": [{"text": text}]} for role, text in turns[:-1]]  # type: ignore[typeddict-item]
        tools = [TOOLS[name] for name in chosen.tools] if await self._models.knows_tools(model) else []
        tee = TeeModel(model, run)
        agent = Agent(
            model=tee,
            messages=history,
            tools=tools,
            system_prompt=chosen.prompt,
            callback_handler=None,
            conversation_manager=NullConversationManager(),
            retry_strategy=None,
            load_tools_from_directory=False,
        )
        reason = "end_turn"
        async for event in agent.stream_async(turns[-1][1], limits={"turns": MOST_MODEL_CALLS}):
            if "message" in event:
                for result in _tool_results(event["message"]):
                    run.tool(tee.finished(result))
            elif "result" in event:
                reason = str(event["result"].stop_reason)
        return reason


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


def _tool_results(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [block["toolResult"] for block in message.get("content", []) if "toolResult" in block]
