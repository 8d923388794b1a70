"""One answer: a Strands agent, built for this turn and thrown away, whose words go straight into the run."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from strands import Agent
from strands.agent.conversation_manager import NullConversationManager
from strands.types.content import Messages
from strands.types.exceptions import MaxTokensReachedException

from app.agents import tracing
from app.agents.catalog import AgentFile, Catalog
from app.agents.failures import said_nothing, translated, unwrapped
from app.agents.guard import ToolGuard
from app.agents.models.provider import Provider, open_provider
from app.agents.naming import Namer
from app.agents.past import Steps, Turn, messages
from app.agents.room import TURN_WEIGHT, Room, weight
from app.agents.tee import Sink, TeeModel
from app.agents.toolbox import Toolbox
from app.agents.wishes import PLAIN, Wishes, tuned
from app.settings import Settings

MOST_MODEL_CALLS = 12  # a model that calls tools for ever is ended here


class Answerer:
    """Opened once per process by `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._toolbox = Toolbox(settings)
        self._traces = tracing.set_up(settings)
        self._settings = settings
        self._stack = AsyncExitStack()
        self._provider: Provider
        self.namer: Namer | None = None

    async def __aenter__(self) -> "Answerer":
        self._provider = await open_provider(self._settings, self._stack)
        await self._stack.enter_async_context(self._toolbox)
        if self._settings.titles == "model" and self._settings.provider != "demo":
            self.namer = await Namer.opened(self._settings, self._stack)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        await tracing.flush(self._traces)

    @property
    def catalog(self) -> Catalog:
        """The agents as their files are now."""
        return self._toolbox.catalog

    def model_id(self, agent: str) -> str:
        """The model this agent answers with. Raises `UnknownAgent`."""
        return self._provider.id_for(self.catalog.get(agent))

    def tools(self, agent: str) -> list[str]:
        """The names of the tools this agent has now. Raises `UnknownAgent`."""
        return [str(tool.tool_name) for tool in self._tools(self.catalog.get(agent))]

    def about(self) -> dict[str, Any]:
        """The state of what the agents have; see `Toolbox`."""
        return self._toolbox.whole_state()

    def _tools(self, chosen: AgentFile) -> list[Any]:
        return self._toolbox.tools_of(chosen)

    async def room(self, agent: str, wishes: Wishes = PLAIN) -> Room:
        """What the model of this agent can read, and what comes with every request."""
        chosen = self.catalog.get(agent)
        able = await self._provider.abilities(chosen)
        tools = [json.dumps(tool.tool_spec) for tool in self._tools(_wished(chosen, wishes)) if able.tools]
        around = sum(weight(text) + TURN_WEIGHT for text in (chosen.prompt, wishes.system, *tools))
        return Room(able.window, self._settings.max_tokens, around, bool(tools))

    async def answer(
        self,
        agent: str,
        turns: Sequence[Turn],
        run: Sink,
        wishes: Wishes = PLAIN,
        calls: Mapping[int, Steps] | None = None,
    ) -> str:
        """Pours the answer to the last of these turns into the run; the model's stop reason.
        `calls`: see `past`.

        Raises `ModelFailure`.
        """
        chosen = self.catalog.get(agent)
        able = await self._provider.abilities(chosen)
        chosen = _wished(chosen, wishes)
        tee = TeeModel(tuned(self._provider.model_for(chosen), wishes, self._settings), able, run)
        try:
            past, tools = messages(turns, calls or {}), self._tools(chosen)
            with self._toolbox.in_use():
                reason = await _stream(tee, chosen, past, run, tools, backend=self._settings.backend_id)
        except MaxTokensReachedException:
            reason = "max_tokens"
        except asyncio.CancelledError as stopped:
            raise stopped.with_traceback(
                None
            ) from None  # a frame of Strands holds it: the whole turn would linger
        except Exception as error:
            inner = unwrapped(error)
            raise translated(inner) or inner from error
        if not tee.said.chars:
            raise said_nothing(reason, tee.last)
        return reason


def _wished(chosen: AgentFile, wishes: Wishes) -> AgentFile:
    prompt = f"{chosen.prompt}\n\n{wishes.system}" if wishes.system else chosen.prompt
    none: dict[str, Any] = {} if wishes.tools else {"tools": [], "mcp": []}
    return chosen.model_copy(update={"prompt": prompt, **none})


async def _stream(
    tee: TeeModel, chosen: AgentFile, past: Messages, run: Sink, tools: list[Any], *, backend: str
) -> str:
    *before, asked = past
    agent = Agent(
        model=tee,
        messages=before,
        tools=tools,
        system_prompt=chosen.prompt,
        callback_handler=None,
        conversation_manager=NullConversationManager(),
        retry_strategy=None,
        load_tools_from_directory=False,
        hooks=[ToolGuard(tee.unread)],
        trace_attributes={
            "gen_ai.conversation.id": run.chat_id,
            "chat.run_id": run.run_id,
            "chat.backend": backend,
        },
        name=chosen.name,
    )
    reason = "end_turn"
    async for event in agent.stream_async(asked["content"], limits={"turns": MOST_MODEL_CALLS}):
        if "message" in event:
            for block in event["message"].get("content", []):
                if "toolResult" in block:
                    run.tool(tee.finished(block["toolResult"]))
        elif "result" in event:
            reason = str(event["result"].stop_reason)
    return reason
