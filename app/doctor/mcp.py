"""The MCP servers, asked as a backend asks them."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from app import envfile
from app.doctor.machine import Finding
from app.settings import Settings

if TYPE_CHECKING:
    from app.agents.mcp import Servers

PATIENCE_SECONDS = 12.0  # > the time a backend gives a server to answer


def mcp_servers(settings: Settings) -> Finding:
    """Which of them answer, with how many tokens of descriptions."""
    from app.agents.mcp import Servers

    try:
        servers = Servers(settings, envfile.variables())
    except ValueError as error:
        return Finding("FAIL", "mcp", str(error).removeprefix("MCP_CONFIG: "), "correct that file")
    told = asyncio.run(_states(servers))
    away = [
        f"{name}: {one['reason'] or 'it starts'}" for name, one in told.items() if one["state"] != "ready"
    ]
    if away:
        return Finding("warn", "mcp", "; ".join(away), "start it, or correct its entry in MCP_CONFIG")
    tokens = sum(one["characters"] for one in told.values()) // 4
    if tokens > settings.ctx_tokens // 2 and settings.provider == "ollama":
        words = f"all tools together take {tokens} tokens of CTX_TOKENS={settings.ctx_tokens}"
        return Finding("warn", "mcp", words, "name single tools in the agents' files, or raise CTX_TOKENS")
    return Finding("ok", "mcp", f"{len(told)} server(s), {tokens} tokens of descriptions")


async def _states(servers: "Servers") -> dict[str, dict[str, Any]]:
    async with servers:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await servers.tried()
        return dict(servers.about())
