"""What a provider is: a file in this folder with one `open`, named as in `PROVIDER`. Knows no provider."""

import importlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from strands.models import Model

from app.agents.abilities import Abilities
from app.agents.catalog import AgentFile
from app.settings import Settings


async def _knows(_: Model, able: Abilities) -> None:
    able.known = True


@dataclass(slots=True)
class Provider:
    """The models of one provider: one Strands model per model id, built when first used, shared by
    all runs.

    `model_id` answers for agents that name no model of their own; `ask` finds out what a model
    takes, and sets `known` when it need not be asked again.
    """

    name: str
    model_id: str
    build: Callable[[str], Model]
    ask: Callable[[Model, Abilities], Awaitable[None]] = _knows
    _built: dict[str, Model] = field(default_factory=dict)
    _able: dict[str, Abilities] = field(default_factory=dict)

    def id_for(self, agent: AgentFile) -> str:
        """The model id this agent answers with."""
        return agent.models.get(self.name, self.model_id)

    def model_for(self, agent: AgentFile) -> Model:
        """The model this agent answers with."""
        model_id = self.id_for(agent)
        if model_id not in self._built:
            self._built[model_id] = self.build(model_id)
        return self._built[model_id]

    async def abilities(self, agent: AgentFile) -> Abilities:
        """What the model of this agent takes."""
        able = self._able.setdefault(self.id_for(agent), Abilities())
        if not able.known:
            await self.ask(self.model_for(agent), able)
        return able


async def open_provider(settings: Settings, stack: AsyncExitStack) -> Provider:
    """The provider of the settings, closed with the stack; imports only what that one needs."""
    module = importlib.import_module(f"app.agents.models.{settings.provider}")
    provider: Provider = await module.open(settings, stack)
    return provider
