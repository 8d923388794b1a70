"""One small question to the model, asked as every reply is: the prompt and the tools of the usual agent,
streamed, through the service's own clients, so with the same addresses, credentials and errors.

Knows no provider and no repair.
"""

import asyncio
from contextlib import AsyncExitStack

from app.agents.abilities import Abilities
from app.agents.catalog import Catalog
from app.agents.failures import failure
from app.agents.models.provider import open_provider
from app.agents.tee import TeeModel
from app.agents.tools import TOOLS
from app.agents.wishes import Wishes, tuned
from app.events import Phase, Tool
from app.settings import Settings

MOST_SECONDS = 30.0
FEW = Wishes(max_tokens=16)  # fewer are refused by some


async def ask_model(settings: Settings) -> Abilities:
    """What the model takes, once it has answered.

    Raises `ModelFailure`, `TimeoutError`, and `ValueError` where an agent's file is wrong.
    """
    async with asyncio.timeout(MOST_SECONDS), AsyncExitStack() as stack:
        provider = await open_provider(settings, stack)
        agent = Catalog(settings.agents_dir, bool(settings.tools_dir)).get("general")
        able = await provider.abilities(agent)
        model = tuned(provider.model_for(agent), FEW, settings)
        specs = [TOOLS[name].tool_spec for name in agent.tools if name in TOOLS]
        tee = TeeModel(model, able, _Ear())
        async for _ in tee.stream([{"role": "user", "content": [{"text": "Hi"}]}], specs, agent.prompt):
            pass
        return able


class _Ear:
    """Hears the answer and forgets it; who still loads a model is not waited for."""

    run_id = chat_id = "doctor"

    def asked(self) -> None: ...
    def busy(self) -> None: ...
    def alive(self, phase: Phase | None = None, *_: int | None, **__: int | None) -> None:
        if phase == "loading":
            raise failure("loading")

    def text(self, text: str) -> None: ...
    def reasoning(self, text: str) -> None: ...
    def aside(self, chars: int) -> None: ...
    def tool(self, event: Tool) -> None: ...
    def used(self, input_tokens: int | None, output_tokens: int | None) -> None: ...
