"""The tools that agents may use. Each is async and has a deadline; none reaches the network or a file."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any, ParamSpec
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from strands import tool

from app.agents.calculator import evaluate

TOOL_SECONDS = 10

P = ParamSpec("P")

# how much of the base unit of its kind one unit is
_UNITS: dict[str, tuple[str, float]] = {
    "mm": ("length", 0.001), "cm": ("length", 0.01), "m": ("length", 1), "km": ("length", 1000),
    "in": ("length", 0.0254), "ft": ("length", 0.3048), "mi": ("length", 1609.344),
    "g": ("mass", 0.001), "kg": ("mass", 1), "t": ("mass", 1000), "oz": ("mass", 0.028349523125),
    "lb": ("mass", 0.45359237), "ml": ("volume", 0.001), "l": ("volume", 1), "gal": ("volume", 3.785411784),
    "s": ("time", 1), "min": ("time", 60), "h": ("time", 3600), "d": ("time", 86400),
}  # fmt: skip


def _bounded(function: Callable[P, Awaitable[str]]) -> Callable[P, Awaitable[str]]:
    """Ends a tool that takes too long with an error that the model can read."""

    @functools.wraps(function)
    async def bounded(*args: P.args, **kwargs: P.kwargs) -> str:
        async with asyncio.timeout(TOOL_SECONDS):
            return await function(*args, **kwargs)

    return bounded


@tool
@_bounded
async def current_time(timezone: str = "UTC") -> str:
    """The current date and time.

    Args:
        timezone: Name of a time zone such as Europe/Berlin; UTC when left out.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("unknown time zone; use a name such as Europe/Berlin") from error
    return datetime.now(UTC).astimezone(zone).strftime("%A, %d %B %Y, %H:%M:%S %Z")


@tool
@_bounded
async def calculate(expression: str) -> str:
    """Works out an arithmetic expression exactly.

    Args:
        expression: Numbers, + - * / // % **, brackets; sqrt, log, sin, cos, tan, abs, round, min, max, pi, e.
    """
    return str(evaluate(expression))


@tool
@_bounded
async def convert_units(value: float, unit: str, to: str) -> str:
    """Converts a measure into another unit of the same kind.

    Args:
        value: The number to convert.
        unit: Its unit: mm cm m km in ft mi, g kg t oz lb, ml l gal, s min h d.
        to: The unit wanted.
    """
    kind, size = _UNITS.get(unit.lower(), ("", 0.0))
    wanted, wanted_size = _UNITS.get(to.lower(), ("", 1.0))
    if not kind or kind != wanted:
        raise ValueError("these units are unknown or of different kinds")
    return f"{value * size / wanted_size:.10g} {to}"


@tool
@_bounded
async def days_between(first: str, last: str) -> str:
    """How many days lie between two dates.

    Args:
        first: A date as YYYY-MM-DD.
        last: Another date as YYYY-MM-DD.
    """
    return str((date.fromisoformat(last) - date.fromisoformat(first)).days)


TOOLS: dict[str, Any] = {
    "calculate": calculate,
    "convert_units": convert_units,
    "current_time": current_time,
    "days_between": days_between,
}
