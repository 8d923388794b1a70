"""A backend with two more tools: one takes its time, so that a stop can arrive inside it, and one counts
what runs.

Run like `python -m app`.
"""

import asyncio

from loguru import logger
from strands import tool

from app.__main__ import main
from app.agents.tools import TOOLS


@tool
async def slow(seconds: float = 100) -> str:
    """Waits.

    Args:
        seconds: How long.
    """
    logger.info("slow tool | began")
    try:
        await asyncio.sleep(seconds)
    finally:
        logger.info("slow tool | over")
    return "waited"


@tool
async def tasks() -> str:
    """Counts the tasks of the backend."""
    return str(len(asyncio.all_tasks()))


TOOLS["slow"] = slow
TOOLS["tasks"] = tasks

if __name__ == "__main__":
    main()
