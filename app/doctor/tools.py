"""The files of `TOOLS_DIR`, loaded as a backend loads them, and the agents that name what is in them."""

import asyncio
from typing import Any

from app.agents.toolbox import Toolbox
from app.doctor.machine import Finding
from app.settings import Settings


def own_tools(settings: Settings) -> Finding:
    """Which tools there are, and what is wrong with which file."""
    try:
        told = asyncio.run(_looked_at(settings))
    except ValueError as error:
        return Finding("FAIL", "tools", str(error), "correct that file, or the setting")
    files = told.get("tools", {})
    wrong = [f"{name}: {one['reason']}" for name, one in files.items() if one["reason"]]
    if wrong := wrong + told.get("mistakes", []):
        return Finding("warn", "tools", "; ".join(wrong), "correct these files; no restart is needed")
    names = [name for one in files.values() for name in one["tools"]]
    network = "with" if settings.tools_network else "without"
    return Finding("ok", "tools", f"{', '.join(names) or 'none'}; {network} network")


async def _looked_at(settings: Settings) -> dict[str, Any]:
    return await Toolbox(settings).looked_at()
