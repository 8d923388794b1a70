"""What the agents are and have: their files, the MCP servers, the user's own tools; read again when they
change, and checked before they are taken.
"""

import asyncio
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from loguru import logger

from app import envfile
from app.agents.catalog import AgentFile, Catalog
from app.agents.changes import Watch, state
from app.agents.tools import TOOLS
from app.settings import Settings

if TYPE_CHECKING:
    from app.agents.mcp import Servers
    from app.agents.own.files import OwnTools


class Toolbox:
    """Opened once per process by `async with`.

    Raises `ValueError` with one line that names the file and the key. What is wrong later is said in
    `about`, and what was there before stays.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.catalog = Catalog(settings.agents_dir, bool(settings.tools_dir))
        self._servers = _servers(settings, self.catalog)
        self._own = _own_tools(settings)
        self._mistakes: list[str] = []
        self._watched = self._state_of_files()
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Toolbox":
        for part in (self._servers, self._own):
            if part:
                await self._stack.enter_async_context(part)
        watches = []
        if self._settings.agents_dir or self._servers:
            watches.append(Watch(self._state_of_files, self._reread, self._watched))
        if self._own:
            watches.append(Watch(lambda: state(self._settings.tools_dir, ".py"), self._own.reread, None))
        self._tasks = [asyncio.create_task(one.watch(), name="changes") for one in watches]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def tools_of(self, agent: AgentFile) -> list[Any]:
        """The tools that this agent has now; of two with one name the first."""
        own = [self._own.tool_named(name) for name in agent.tools] if self._own else []
        found = [TOOLS[name] for name in agent.tools if name in TOOLS]
        found += [tool for tool in own if tool]
        found += self._servers.tools_of(agent.mcp) if self._servers else []
        return list({tool.tool_name: tool for tool in reversed(found)}.values())[::-1]

    def in_use(self) -> AbstractContextManager[None]:
        """Keeps what the tools of now need while a reply uses them."""
        return self._servers.in_use() if self._servers else nullcontext()

    def whole_state(self) -> dict[str, Any]:
        """State and reason of each MCP server and each file of tools, and what is wrong; only what there
        is.
        """
        told = {
            "mcp": self._servers.about() if self._servers else {},
            "tools": self._own.state_of_each() if self._own else {},
            "mistakes": [*self._mistakes, *self._unknown()],
        }
        return {name: value for name, value in told.items() if value}

    async def looked_at(self) -> dict[str, Any]:
        """The same for who only asks: the user's own tools are loaded, no server is started."""
        if not self._own:
            return self.whole_state()
        async with self._own:
            await self._own.reread()
            return self.whole_state()

    def _unknown(self) -> list[str]:
        """Agents that name tools which are nowhere, once all files were looked at."""
        if not self._own or not self._own.looked:
            return []
        known = {*TOOLS, *self._own.names}
        return [
            f"{agent.name}: tools: unknown tool {name!r}"
            for agent in self.catalog
            for name in agent.tools
            if name not in known
        ]

    def _state_of_files(self) -> Any:
        folder, servers = self._settings.agents_dir, self._settings.mcp_config
        return (state(folder, ".toml") if folder else None, state(servers) if servers else None)

    async def _reread(self) -> bool:
        """Takes what is right of the agents' files and of the servers' file, as far as they fit together."""
        named, mistakes = None, list[str]()
        if self._servers:
            try:
                named = await asyncio.to_thread(self._servers.named_now)
            except ValueError as error:
                mistakes.append(str(error))
        try:
            more = bool(self._own)
            catalog = await asyncio.to_thread(Catalog, self._settings.agents_dir, more, self.catalog)
            mistakes += catalog.mistakes
            for agent in catalog:
                _check_servers(agent, self._servers, named)
        except ValueError as error:
            mistakes.append(str(error))
        else:
            self.catalog = catalog
            if self._servers and named is not None:
                self._servers.adopt(named)
        for mistake in mistakes:
            logger.warning("{} | kept as it was", mistake)
        if not mistakes:
            logger.info("agents=<{}> | read again", len(list(self.catalog)))
        self._mistakes = mistakes
        return True


def _servers(settings: Settings, catalog: Catalog) -> "Servers | None":
    """What `MCP_CONFIG` names; nothing of it is loaded without."""
    servers = None
    if settings.mcp_config:
        from app.agents.mcp import Servers

        servers = Servers(settings, envfile.variables())
    for agent in catalog:
        _check_servers(agent, servers, None)
    return servers


def _check_servers(agent: AgentFile, servers: "Servers | None", named: dict[str, Any] | None) -> None:
    if agent.mcp and not servers:
        raise ValueError(f"{agent.name}: mcp: set MCP_CONFIG to the file that names the servers")
    if servers:
        servers.check(agent.name, agent.mcp, named)


def _own_tools(settings: Settings) -> "OwnTools | None":
    """What is in `TOOLS_DIR`; nothing of it is loaded without."""
    if not settings.tools_dir:
        return None
    from app.agents.own.files import OwnTools

    return OwnTools(settings, set(TOOLS))
