"""What a provider is: a file in this folder with one `open`, named as in `PROVIDER`. Knows no provider."""

import importlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from strands.models import Model

from app.agents.catalog import AgentFile
from app.settings import Settings


@dataclass(slots=True)
class Abilities:
    """What a model takes, as far as it is known."""

    tools: bool = True


async def _able(_: Model) -> Abilities:
    return Abilities()


@dataclass(slots=True)
class Provider:
    """The models of one provider: one Strands model per model id, built when first used, shared by all runs.

    `model_id` answers for agents that name no model of their own; `ask` finds out what a model takes.
    """

    name: str
    model_id: str
    build: Callable[[str], Model]
    ask: Callable[[Model], Awaitable[Abilities]] = _able
    _built: dict[str, Model] = field(default_factory=dict)

    def id_for(self, agent: AgentFile) -> str:
        """The model id this agent answers with."""
        return agent.models.get(self.name, self.model_id)

    def model_for(self, agent: AgentFile) -> Model:
        """The model this agent answers with."""
        model_id = self.id_for(agent)
        if model_id not in self._built:
            self._built[model_id] = self.build(model_id)
        return self._built[model_id]

    async def abilities(self, model: Model) -> Abilities:
        """What may be asked of this model."""
        return await self.ask(model)


async def open_provider(settings: Settings, stack: AsyncExitStack) -> Provider:
    """The provider of the settings, closed with the stack; imports only what that one needs."""
    module = importlib.import_module(f"app.agents.models.{settings.provider}")
    provider: Provider = await module.open(settings, stack)
    return provider
