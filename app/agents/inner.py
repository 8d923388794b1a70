"""An agent that works for another one: a tool to that one, a sink to itself. Its failures are the
tool's, and it has its own clock.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from loguru import logger
from strands.types.tools import AgentTool, ToolGenerator, ToolSpec, ToolUse

from app.agents.approval import Ask
from app.agents.catalog import AgentFile
from app.agents.failures import translated, unwrapped
from app.agents.tee import Sink
from app.events import OPEN, Tool
from app.settings import Settings

TASK = "What it is to do, with everything it must know for that: it sees nothing else of the conversation."

Maker = Callable[[str], "Inner"]


class Inner:
    """Where the answer of a helper goes: its steps into the run, its words into the result of the call."""

    def __init__(self, outer: Sink, call_id: str, settings: Settings, count: Callable[[], None]) -> None:
        self.call_id = call_id
        self.patience = asyncio.timeout(None)
        self._outer = outer
        self._settings = settings
        self._count_call = count
        self._said: list[str] = []
        self._begun = False
        self._open: dict[str, Tool] = {}

    @classmethod
    def maker(cls, outer: Sink, settings: Settings, count: Callable[[], None]) -> Maker:
        """Makes one for each call."""
        return lambda call_id: cls(outer, call_id, settings, count)

    @property
    def result(self) -> str:
        """All that it has said."""
        return "".join(self._said)

    @property
    def run_id(self) -> str:
        return self._outer.run_id

    @property
    def chat_id(self) -> str:
        return self._outer.chat_id

    def asked(self) -> None:
        """Its model is about to be asked. Raises `ModelFailure` when that was too often."""
        self._count_call()
        self._begun = False
        self._wait()

    def busy(self) -> None:
        self.patience.reschedule(None)

    def alive(self, *_: object, **__: object) -> None:
        self._wait()

    def text(self, text: str) -> None:
        self._said.append(text)
        self.reasoning(text)

    def reasoning(self, text: str) -> None:
        self._begun = True
        self._wait()
        self._outer.aside(len(text))

    def aside(self, chars: int) -> None:
        self._outer.aside(chars)

    def tool(self, event: Tool) -> None:
        if event.status in OPEN:
            self._open[event.tool_use_id] = event
        else:
            self._open.pop(event.tool_use_id, None)
        self._outer.tool(replace(event, parent=event.parent or self.call_id))
        self._outer.busy()

    def used(self, input_tokens: int | None, output_tokens: int | None) -> None:
        self._outer.used(input_tokens, output_tokens)

    def end_tools(self) -> None:
        """It has failed: nothing that it began goes on."""
        for event in list(self._open.values()):
            self.tool(Tool(event.tool_use_id, event.name, "failed", parent=event.parent))

    def _wait(self) -> None:
        settings = self._settings
        seconds = settings.token_timeout_seconds if self._begun else settings.first_token_timeout_seconds
        self.patience.reschedule(asyncio.get_running_loop().time() + seconds)


class Helps(Protocol):
    """Lets a helper work: `app.agents.work.Work`."""

    async def help(self, helper: AgentFile, task: str, inner: Inner, ask: Ask) -> str: ...


class SubAgent(AgentTool):
    """A helper as the tool of another agent."""

    def __init__(self, helper: AgentFile, work: Helps, make: Maker, ask: Ask) -> None:
        super().__init__()
        self._helper = helper
        self._work = work
        self._make = make
        self._ask = ask

    @property
    def tool_name(self) -> str:
        return self._helper.name

    @property
    def tool_spec(self) -> ToolSpec:
        return spec_of(self._helper)

    @property
    def tool_type(self) -> str:
        return "agent"

    async def stream(self, tool_use: ToolUse, invocation_state: dict[str, Any], **_: Any) -> ToolGenerator:  # noqa: ARG002
        task, inner = _task_of(tool_use["input"]), self._make(tool_use["toolUseId"])
        well, said = False, "task: say in a text what is to be done"
        try:
            if task:
                well, said = True, await self._work.help(self._helper, task, inner, self._ask)
        except Exception as error:  # noqa: BLE001  # an agent may raise anything; the other one goes on
            inner.end_tools()
            said = self._why(error, inner)
        status = "success" if well else "error"
        yield {"toolUseId": tool_use["toolUseId"], "status": status, "content": [{"text": said}]}

    def _why(self, error: Exception, inner: Inner) -> str:
        known = unwrapped(error)
        if meant := translated(known):
            return meant.detail
        told = logger.opt(exception=known)
        told.error("run_id=<{}>, agent=<{}> | a sub-agent failed", inner.run_id, self.tool_name)
        return "the agent failed"


def spec_of(helper: AgentFile) -> ToolSpec:
    """How a helper is described to the model of the other agent."""
    schema = {
        "type": "object",
        "properties": {"task": {"type": "string", "description": TASK}},
        "required": ["task"],
    }
    return {"name": helper.name, "description": helper.description, "inputSchema": {"json": schema}}


def _task_of(given: Any) -> str:
    """Empty where there is none that can be used."""
    task = given.get("task") if isinstance(given, dict) else None
    return task.strip() if isinstance(task, str) else ""
