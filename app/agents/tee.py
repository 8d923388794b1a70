"""Between Strands and a model, for one run: text and reasoning go to the run at once, to Strands as
one.

What can be made good before anything was said is made good here, unseen: a connection that was dead
already, a model that takes no tools. Strands' messages, tools and hooks work as ever, and a token
costs next to nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol

from loguru import logger
from strands.models import Model
from strands.types.content import Messages
from strands.types.streaming import StreamEvent

from app.agents.abilities import Abilities, with_prompt
from app.agents.approval import Ask, refuse_all
from app.agents.calls import MOST_SHOWN, as_json
from app.agents.failures import TruncatedStream, failure, is_momentary, translated, trouble_of
from app.agents.floods import Flood, Floods
from app.agents.message import ModelMessage
from app.agents.said import Said
from app.agents.shown import has_picture, without_pictures
from app.agents.words import masked
from app.events import Phase, Tool

REST_SECONDS = 2.0  # for the counts behind the end of an answer
MOMENT_SECONDS = 0.25


class Sink(Protocol):
    """Where an answer goes: `app.runs.run.Run`."""

    @property
    def run_id(self) -> str: ...
    @property
    def chat_id(self) -> str: ...
    def asked(self) -> None: ...
    def busy(self) -> None: ...
    def alive(
        self, phase: Phase | None = None, processed: int | None = None, total: int | None = None
    ) -> None: ...
    def text(self, text: str) -> None: ...
    def reasoning(self, text: str) -> None: ...
    def aside(self, chars: int) -> None: ...
    def tool(self, event: Tool) -> None: ...
    def used(self, input_tokens: int | None, output_tokens: int | None) -> None: ...


class TeeModel(Model):
    """Stands before a model for one agent of a run.

    `names`: those of all calls of the run, by their id; `gates`: of tools that wait for a person, whom
    `ask` asks. `unread`: calls whose arguments were no object, by their id; `gated`: those that wait.
    """

    def __init__(
        self,
        model: Model,
        able: Abilities,
        run: Sink,
        *,
        names: dict[str, str] | None = None,
        gates: Container[str] = (),
        ask: Ask = refuse_all,
        floods: Floods | None = None,
    ) -> None:
        self._model = model
        self._able = able
        self._run = run
        self._names = {} if names is None else names
        self._gates = gates
        self.ask = ask
        self._flood = Flood(floods or Floods())
        self.gated: dict[str, Tool] = {}
        self.said = Said(run.text)
        self.last = ModelMessage()
        self.unread: set[str] = set()

    def get_config(self) -> Any:
        return self._model.get_config()

    def update_config(self, **config: Any) -> None:
        self._model.update_config(**config)

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        return self._model.structured_output(*args, **kwargs)

    async def count_tokens(self, *_: Any, **__: Any) -> int:
        """Strands asks before each call, for managers of a conversation that we do not have."""
        return 0

    async def stream(
        self,
        messages: Messages,
        tool_specs: Any = None,
        system_prompt: str | None = None,
        *_: Any,
        **more: Any,
    ) -> AsyncGenerator[StreamEvent, None]:
        self._run.asked()
        self.last = message = await self._heard(messages, tool_specs, system_prompt, more)
        self.said.rest()
        read, written = "cacheReadInputTokens", "cacheWriteInputTokens"
        self._run.used(message.counted("inputTokens", read, written), message.counted("outputTokens"))
        self._announce(message)
        for chunk in message.chunks():
            yield chunk  # type: ignore[misc]  # a plain dictionary of that shape

    async def _heard(self, messages: Messages, specs: Any, prompt: str | None, more: Any) -> ModelMessage:
        """The whole message. Raises `ModelFailure`, or what is no failure of a model."""
        tried = False
        while True:
            message = ModelMessage(self._names)
            shown = messages if self._able.vision else without_pictures(messages)
            asked = with_prompt(shown, prompt) if prompt and not self._able.system else shown
            told = prompt if self._able.system else None
            offered = specs if self._able.tools else None
            try:
                answer = self._model.stream(asked, offered, told, fresh=tried, **more)
                await asyncio.create_task(self._read(message, answer), name=f"read {self._run.run_id}")
                return message
            except Exception as error:
                if message.reason is not None:
                    return message  # all was said; what broke came behind it
                self._log(error, [messages, prompt])
                if not message.answered:
                    if self._able.learn(
                        trouble_of(error).words,
                        tools=bool(offered),
                        system=bool(told),
                        pictures=any(has_picture(one["content"]) for one in asked),
                    ):
                        self._check_sight(messages)
                        continue
                    if self._learn(error):
                        continue
                    if not tried and is_momentary(error):
                        tried = True
                        await asyncio.sleep(MOMENT_SECONDS)
                        continue
                self._run.used(None, None)
                raise translated(error, said=message.begun) or error from error

    def _check_sight(self, messages: Messages) -> None:
        """Raises a failure when the newest words come with a picture that the model cannot see."""
        asked = next((one for one in reversed(messages) if _are_words(one["content"])), None)
        if asked and not self._able.vision and has_picture(asked["content"]):
            raise failure("no_vision")

    def _learn(self, refusal: Exception) -> bool:
        """Whether the model itself knows from this refusal how to ask."""
        learn = getattr(self._model, "learn", None)
        return bool(learn and learn(refusal))

    async def _read(self, message: ModelMessage, upstream: Any) -> None:
        async with aclosing(upstream), asyncio.timeout(None) as patience:
            async for chunk in upstream:
                if "progress" in chunk:
                    self._run.alive(**chunk["progress"])
                    continue
                try:
                    text, thought = message.take(chunk)
                except (TypeError, AttributeError, ValueError) as error:
                    raise failure("no_answer") from error
                if text:
                    self.said.text(text)
                elif thought:
                    self._run.reasoning(thought)
                else:
                    self._run.alive()
                await self._flood.says(len(text or thought or ""))
                if message.reason is not None and patience.when() is None:
                    patience.reschedule(asyncio.get_running_loop().time() + REST_SECONDS)
        if message.reason is None:
            raise TruncatedStream

    def _announce(self, message: ModelMessage) -> None:
        for call in message.calls():
            self._names[call.id] = call.name
            told = Tool(call.id, call.name, "asked", call.shown)
            if call.unread is not None:
                self.unread.add(call.id)
            if call.unread is None and call.name in self._gates:
                self.gated[call.id] = told
                self._run.busy()
            else:
                self.begin(told)
            self.said.part()

    def begin(self, call: Tool) -> None:
        """This call is carried out now."""
        self._run.tool(replace(call, status="running"))
        self._run.busy()

    def finished(self, result: dict[str, Any]) -> Tool:
        """The event for the result of a tool call."""
        used = result["toolUseId"]
        output = "\n".join(_shown(part) for part in result["content"])
        status = "failed" if result.get("status") == "error" else "done"
        return Tool(used, self._names.get(used, ""), status, None, output[:MOST_SHOWN])  # type: ignore[arg-type]

    def _log(self, error: BaseException, request: Any) -> None:
        """The one line for the operator."""
        trouble, meant = trouble_of(error), translated(error)
        logger.warning(
            "run_id=<{}>, status=<{}>, kind=<{}>, code=<{}>, words=<{}> | the model's answer is none",
            *(self._run.run_id, trouble.status, trouble.name or type(error).__name__),
            *(meant.code if meant else "", masked(trouble.words, request)),
        )


def _are_words(blocks: Sequence[Any]) -> bool:
    """Whether these are words of a person, and not what tools found."""
    return any("text" in block for block in blocks) and not any("toolResult" in block for block in blocks)


def _shown(part: dict[str, Any]) -> str:
    """A piece of a tool's result as readers see it; pictures and files by their kind."""
    if isinstance(text := part.get("text"), str):
        return text
    return as_json(part["json"]) if "json" in part else f"({next(iter(part), 'nothing')})"
