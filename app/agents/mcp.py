"""MCP servers, as `MCP_CONFIG` names them, and what agents name of their tools.

Imported only when it is set. A backend never waits for a server to start.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from strands.types.tools import AgentTool

from app.agents.mcpfile import McpServer, read_servers
from app.agents.mcpkeeper import Keeper
from app.settings import Settings


class Servers:
    """All of them; opened once per process by `async with`.

    Raises `ValueError` with one line when the file cannot be used.
    """

    def __init__(self, settings: Settings, variables: Mapping[str, str]) -> None:
        self._path = settings.mcp_config
        self._variables = variables
        self._seconds = settings.mcp_tool_seconds
        self._keepers = {name: Keeper(name, one, self._seconds) for name, one in self.named_now().items()}
        self._retired: list[Keeper] = []
        self._tasks: dict[Keeper, asyncio.Task[None]] = {}

    async def __aenter__(self) -> "Servers":
        for keeper in self._keepers.values():
            self._begin(keeper)
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, keeper: Keeper) -> None:
        task = self._tasks[keeper] = asyncio.create_task(keeper.keep(), name=f"mcp {keeper.name}")
        task.add_done_callback(lambda _: self._tasks.pop(keeper, None))

    def named_now(self) -> dict[str, McpServer]:
        """The servers as the file names them now. Raises `ValueError` with one line."""
        return read_servers(self._path, self._variables)

    def adopt(self, named: Mapping[str, McpServer]) -> None:
        """These from now on: what is as it was stays, and what is gone ends with the last reply that has
        begun with it.
        """
        before = self._keepers
        same = {name for name, one in named.items() if name in before and before[name].server == one}
        self._retired += [keeper for name, keeper in before.items() if name not in same]
        self._keepers = {
            name: before[name] if name in same else Keeper(name, one, self._seconds)
            for name, one in named.items()
        }
        for name in named.keys() - same:
            self._begin(self._keepers[name])
        self._let_go()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """No server of now ends before this does."""
        mine = list(self._keepers.values())
        for keeper in mine:
            keeper.users += 1
        try:
            yield
        finally:
            for keeper in mine:
                keeper.users -= 1
            self._let_go()

    def _let_go(self) -> None:
        for keeper in [keeper for keeper in self._retired if not keeper.users]:
            self._retired.remove(keeper)
            self._tasks[keeper].cancel()

    def check(self, agent: str, wanted: list[str], named: Mapping[str, Any] | None = None) -> None:
        """Raises `ValueError` when an agent names a server that is none, of these or of ours."""
        for one in wanted:
            if one.split(".", 1)[0] not in (self._keepers if named is None else named):
                raise ValueError(f"{agent}: mcp: MCP_CONFIG names no server {one.split('.', 1)[0]!r}")

    def tools_of(self, wanted: list[str]) -> list[AgentTool]:
        """The tools that these words mean: `server`, or `server.tool`."""
        found: dict[str, AgentTool] = {}
        for one in wanted:
            server, _, name = one.partition(".")
            keeper = self._keepers[server]
            for tool in keeper.tools.values():
                if not name or tool.theirs == name:
                    found.setdefault(tool.tool_name, tool)
        return list(found.values())

    async def tried(self) -> None:
        """Returns when of each it is known whether it answers."""
        for keeper in self._keepers.values():
            await keeper.tried.wait()

    def about(self) -> dict[str, dict[str, Any]]:
        """State and reason of each, its tools, and how many characters describe them."""
        return {
            name: {
                "state": one.state,
                "reason": one.reason,
                "tools": len(one.tools),
                "characters": sum(len(json.dumps(tool.tool_spec)) for tool in one.tools.values()),
            }
            for name, one in self._keepers.items()
        }
