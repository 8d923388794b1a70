"""Which calls of an agent wait for a person, and what the model is told where nobody agrees."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from app.agents.catalog import AgentFile
from app.events import Tool

Verdict = Literal["allowed", "refused", "lapsed"]
Ask = Callable[[Tool], Awaitable[Verdict]]

TOLD: dict[Verdict, str] = {
    "refused": "The person refused this call, so it was not carried out. Do not repeat it unasked.",
    "lapsed": "Nobody agreed to this call in time, so it was refused and not carried out.",
}


async def refuse_all(_: Tool) -> Verdict:
    """Where there is nobody to ask."""
    return "refused"


def gated(chosen: AgentFile, tools: Sequence[Any]) -> frozenset[str]:
    """The names of those of its tools that wait for a person.

    A tool of a server says where it comes from (`sources`), and whether all of that waits (`asks`).
    """
    named = chosen.approve
    return frozenset(
        tool.tool_name
        for tool in tools
        if named is True
        or getattr(tool, "asks", False)
        or (named and {tool.tool_name, *getattr(tool, "sources", ())} & {*named})
    )
