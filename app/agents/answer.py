"""Answers to what people ask: which agent, with which model and tools, and how a failure is told.

The words of an answer go straight into its run.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from app.agents import tracing
from app.agents.abilities import Abilities
from app.agents.approval import Ask, refuse_all
from app.agents.catalog import AgentFile, Catalog
from app.agents.failures import translated, unwrapped
from app.agents.floods import Floods
from app.agents.inner import spec_of
from app.agents.models.provider import Provider, open_provider
from app.agents.naming import Namer
from app.agents.past import Steps, Turn, messages
from app.agents.room import TURN_WEIGHT, Room, weight
from app.agents.shown import NONE, Shown
from app.agents.spare import Spares
from app.agents.tee import Sink
from app.agents.toolbox import Toolbox
from app.agents.wishes import PLAIN, Wishes
from app.agents.work import Kit, Work
from app.settings import Settings


class Answerer:
    """Opened once per process by `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._toolbox = Toolbox(settings)
        self.floods = Floods()
        self._traces = tracing.set_up(settings)
        self._settings = settings
        self._spares = Spares()
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
        chosen = self.catalog.get(agent)
        return [*(str(tool.tool_name) for tool in self._tools(chosen)), *chosen.agents]

    def about(self) -> dict[str, Any]:
        """The state of what the agents have; see `Toolbox`."""
        return self._toolbox.whole_state()

    def _tools(self, chosen: AgentFile) -> list[Any]:
        return self._toolbox.tools_of(chosen)

    async def room(self, agent: str, wishes: Wishes = PLAIN) -> Room:
        """What the model of this agent can read, and what comes with every request."""
        chosen = self.catalog.get(agent)
        able = await self._able(chosen)
        offered = _wished(chosen, wishes)
        specs = [tool.tool_spec for tool in self._tools(offered)]
        specs += [spec_of(self.catalog.get(name)) for name in offered.agents]
        tools = [json.dumps(spec) for spec in specs if able.tools]
        around = sum(weight(text) + TURN_WEIGHT for text in (chosen.prompt, wishes.system, *tools))
        return Room(able.window, self._settings.max_tokens, around, bool(tools), able.vision)

    async def sees(self, agent: str) -> bool:
        """Whether the model of this agent sees pictures. Raises `UnknownAgent`."""
        return (await self._able(self.catalog.get(agent))).vision

    async def _able(self, chosen: AgentFile) -> Abilities:
        """What the model of this agent takes; whether it sees, as the settings say where they do."""
        able = await self._provider.abilities(chosen)
        if self._settings.vision != "auto":
            able.vision = self._settings.vision == "true"
        return able

    async def answer(
        self,
        agent: str,
        turns: Sequence[Turn],
        run: Sink,
        wishes: Wishes = PLAIN,
        calls: Mapping[int, Steps] | None = None,
        *,
        ask: Ask = refuse_all,
        files: Mapping[int, Sequence[Shown]] = NONE,
    ) -> str:
        """Pours the answer to the last of these turns into the run; the model's stop reason.
        `calls`, `files`: see `past`; `ask`: whom to ask about tools that wait for a person.

        Raises `ModelFailure`.
        """
        chosen = _wished(self.catalog.get(agent), wishes)
        kit = Kit(self._settings, self.catalog, self._provider, self._tools, self._spares, self.floods)
        work = Work(kit, run)
        try:
            with self._toolbox.in_use():
                return await work.do(chosen, messages(turns, calls or {}, files), run, ask, wishes)
        except asyncio.CancelledError as stopped:
            raise stopped.with_traceback(
                None
            ) from None  # a frame of Strands holds it: the whole turn would linger
        except Exception as error:
            inner = unwrapped(error)
            raise translated(inner) or inner from error


def _wished(chosen: AgentFile, wishes: Wishes) -> AgentFile:
    prompt = f"{chosen.prompt}\n\n{wishes.system}" if wishes.system else chosen.prompt
    none: dict[str, Any] = {} if wishes.tools else {"tools": [], "mcp": [], "agents": []}
    return chosen.model_copy(update={"prompt": prompt, **none})
