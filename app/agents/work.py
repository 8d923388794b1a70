"""The agents at work in one reply: the one that was asked, and those that work for it as its tools.

Each is a Strands agent. Those that work for another show their steps inside its call; what they say is
the output of that call.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from strands import Agent
from strands.types.content import Message, Messages
from strands.types.exceptions import MaxTokensReachedException
from strands.types.tools import AgentTool

from app.agents.approval import Ask, Verdict, gated
from app.agents.catalog import AgentFile, Catalog
from app.agents.failures import failure, said_nothing
from app.agents.floods import Floods
from app.agents.inner import Inner, SubAgent
from app.agents.models.provider import Provider
from app.agents.spare import Spares
from app.agents.tee import Sink, TeeModel
from app.agents.wishes import PLAIN, Wishes, tuned
from app.errors import ModelFailure
from app.events import Tool
from app.settings import Settings

MOST_MODEL_CALLS = 12  # of one agent: one that calls tools for ever is ended here
MOST_HELP_CALLS = 36  # model calls of all that work for the one that was asked


@dataclass(frozen=True, slots=True)
class Kit:
    """What agents work with, as it is when a reply begins."""

    settings: Settings
    catalog: Catalog
    provider: Provider
    tools_of: Callable[[AgentFile], list[Any]]
    spares: Spares
    floods: Floods


class Work:
    """One per reply. `run` is where its events go."""

    def __init__(self, kit: Kit, run: Sink) -> None:
        self._kit = kit
        self._run = run
        self._names: dict[str, str] = {}  # of all calls, by their id
        self._left = MOST_HELP_CALLS

    async def do(
        self, chosen: AgentFile, past: Messages, sink: Sink, ask: Ask, wishes: Wishes = PLAIN
    ) -> str:
        """Pours the answer to the last of these messages into the sink; the model's stop reason."""
        kit = self._kit
        able = await kit.provider.abilities(chosen)
        model = tuned(kit.provider.model_for(chosen), wishes, kit.settings)
        tools = self._tools(chosen, sink, ask)
        tee = TeeModel(
            model, able, sink, names=self._names, gates=gated(chosen, tools), ask=ask, floods=kit.floods
        )
        try:
            agent = kit.spares.take(chosen, tee, tools, past[:-1], self._traced())
            reason = await _pour(agent, past[-1], tee, sink)
            if not self._names and not chosen.agents:
                kit.spares.give_back(agent, tools)
        except MaxTokensReachedException:
            reason = "max_tokens"
        if not tee.said.chars:
            raise said_nothing(reason, tee.last)
        return reason

    async def help(self, helper: AgentFile, task: str, inner: Inner, ask: Ask) -> str:
        """What a helper says to its task. Raises `ModelFailure`."""

        async def ask_inside(call: Tool) -> Verdict:
            return await ask(replace(call, parent=inner.call_id))

        try:
            async with asyncio.timeout(None) as inner.patience:
                await self.do(helper, [{"role": "user", "content": [{"text": task}]}], inner, ask_inside)
        except TimeoutError as error:
            if inner.patience.expired():
                raise failure("timeout") from error
            raise
        return inner.result

    def count(self) -> None:
        """Counts a model call of a helper. Raises `ModelFailure` for one too many."""
        self._left -= 1
        if self._left < 0:
            raise ModelFailure("model_error", "The agents asked their models too often.", retry=False)

    def _tools(self, chosen: AgentFile, sink: Sink, ask: Ask) -> list[AgentTool]:
        kit = self._kit
        helpers = [kit.catalog.get(name) for name in chosen.agents]
        mine = [
            SubAgent(helper, self, Inner.maker(sink, kit.settings, self.count), ask) for helper in helpers
        ]
        return distinct([*mine, *kit.tools_of(chosen)])

    def _traced(self) -> dict[str, str]:
        """What a trace tells of this reply."""
        return {
            "gen_ai.conversation.id": self._run.chat_id,
            "chat.run_id": self._run.run_id,
            "chat.backend": self._kit.settings.backend_id,
        }


async def _pour(agent: Agent, asked: Message, tee: TeeModel, sink: Sink) -> str:
    """Pours what this agent answers into the sink; the stop reason."""
    reason = "end_turn"
    async for event in agent.stream_async(asked["content"], limits={"turns": MOST_MODEL_CALLS}):
        if "message" in event:
            for block in event["message"].get("content", []):
                if "toolResult" in block:
                    sink.tool(tee.finished(block["toolResult"]))
        elif "result" in event:
            reason = str(event["result"].stop_reason)
    return reason


def distinct(tools: Sequence[AgentTool]) -> list[AgentTool]:
    """Without those whose name another has already: a server chooses its names."""
    found: dict[str, AgentTool] = {}
    for tool in tools:
        found.setdefault(tool.tool_name.replace("-", "_"), tool)
    return list(found.values())
