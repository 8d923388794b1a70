"""An MCP server made with the SDK: `python mcp_sdk.py stdio`, or `sse PORT`, `streamable-http PORT`."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("sdk")


@server.tool()
def echo(text: str) -> str:
    """Says it again."""
    return text


@server.tool()
async def grow(name: str, context: Context[Any, Any]) -> str:
    """Has one tool more from now on."""
    server.add_tool(lambda: name, name=name, description="New.")
    await context.notify_tools_changed()
    return "grown"


def note(mark: str) -> None:
    Path(mark).touch()


@server.tool()
async def hold(mark: str) -> str:
    """Waits, and writes down that it has begun and that it is over."""
    note(mark)
    try:
        await asyncio.sleep(1000)
    finally:
        note(f"{mark}-over")
    return "waited"


if __name__ == "__main__":
    kind: Any = sys.argv[1]
    more: dict[str, Any] = {} if kind == "stdio" else {"port": int(sys.argv[2])}
    server.run(kind, **more)
