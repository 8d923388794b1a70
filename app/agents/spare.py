"""Strands agents, built once and used again: building one costs as much as fifty tokens do.

One serves a single reply at a time. It comes back only when that ended by itself and called no tool, for
tools may leave something in it; nothing of a reply stays there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from strands import Agent
from strands.agent.conversation_manager import NullConversationManager
from strands.models import Model
from strands.telemetry.metrics import EventLoopMetrics
from strands.types.content import Messages
from strands.types.tools import AgentTool

from app.agents.catalog import AgentFile
from app.agents.guard import ToolGuard

MOST_SPARE = 32


class Spares:
    """Agents by their tools, of which the rest depends on who asks."""

    def __init__(self) -> None:
        self._free: list[tuple[Sequence[AgentTool], Agent]] = []

    def take(
        self,
        chosen: AgentFile,
        model: Model,
        tools: Sequence[AgentTool],
        before: Messages,
        traced: Mapping[str, Any],
    ) -> Agent:
        """An agent with this model and these tools, behind these messages."""
        at = next((at for at, (own, _) in enumerate(self._free) if own == tools), None)
        agent = _built(model, tools) if at is None else self._free.pop(at)[1]
        agent.name, agent.system_prompt = chosen.name, chosen.prompt
        agent.model, agent.messages, agent.trace_attributes = model, before, dict(traced)
        return agent

    def give_back(self, agent: Agent, tools: Sequence[AgentTool]) -> None:
        """It may be used again, by a reply with the same tools."""
        agent.messages, agent.trace_attributes, agent.trace_span = [], {}, None
        agent.event_loop_metrics = EventLoopMetrics()
        del agent.model
        self._free = [(tools, agent), *self._free[: MOST_SPARE - 1]]


def _built(model: Model, tools: Sequence[AgentTool]) -> Agent:
    return Agent(
        model=model,
        tools=list(tools),
        callback_handler=None,
        conversation_manager=NullConversationManager(),
        retry_strategy=None,
        load_tools_from_directory=False,
        hooks=[ToolGuard()],
    )
