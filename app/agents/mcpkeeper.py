"""One MCP server: a task keeps the line to it, and its tools are ours while it is there."""

import asyncio
import contextlib
import hashlib
import json
import re
from typing import Any, Literal

from loguru import logger
from mcp.client import Client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolListChangedNotification,
)
from strands.types.tools import AgentTool, ToolGenerator, ToolSpec, ToolUse

from app.agents.mcpfile import McpServer
from app.agents.mcpwire import line_to

CONNECT_SECONDS = 10.0
RETRY_SECONDS = (0.5, 30.0)
LIST_SECONDS = 10.0
CALM_SECONDS = 1.0  # between two readings of a list that changes
BACK_SECONDS = 10.0  # a call waits so long for a server that is coming back
MOST_TOOLS = 64  # of one server
MOST_NAME = 64  # characters: what providers take
MOST_SPEC = 16 * 1024  # characters of one tool's description
MOST_OUTPUT = 20_000  # characters of a result
MOST_REASON = 200

State = Literal["starting", "ready", "lost"]


class Keeper:
    """Holds the line to one server and makes it anew."""

    def __init__(self, name: str, server: McpServer, seconds: float) -> None:
        self.name = name
        self.approve = server.approve
        self.state: State = "starting"
        self.reason = ""
        self.tools: dict[str, McpTool] = {}
        self.server = server
        self.users = 0  # replies that began with it
        self._seconds = seconds
        self._client: Client | None = None
        self._ready = asyncio.Event()
        self.tried = asyncio.Event()  # whether it answers is known
        self._lost = asyncio.Event()
        self._changed = asyncio.Event()

    async def keep(self) -> None:
        """Until it is cancelled."""
        pause = RETRY_SECONDS[0]
        while True:
            try:
                async with asyncio.timeout(CONNECT_SECONDS) as patience:
                    await self._hold(patience)
                pause, self.reason = RETRY_SECONDS[0], "the server has gone"
            except Exception as error:  # noqa: BLE001  # the root of a task: a server may do anything
                self.reason = _plain(error)
            if self.state != "lost":
                logger.warning("server=<{}>, reason=<{}> | MCP server lost", self.name, self.reason)
            self.state, self._client = "lost", None
            self.tried.set()
            self._ready.clear()
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_SECONDS[1])

    async def _hold(self, patience: asyncio.Timeout) -> None:
        self._lost.clear()
        line = line_to(self.server, self._lost.set)
        async with Client(line, message_handler=self._heed) as client:
            await self._list(client)
            self._client, self.state, self.reason = client, "ready", ""
            patience.reschedule(None)
            self._ready.set()
            self.tried.set()
            following = asyncio.create_task(self._follow(client), name=f"mcp list {self.name}")
            try:
                await self._lost.wait()
            finally:
                self._ready.clear()
                following.cancel()
                await asyncio.wait([following])

    async def _list(self, client: Client) -> None:
        page = await client.list_tools(cache_mode="refresh")
        listed = list(page.tools)
        for _ in range(MOST_TOOLS):  # pages of one tool
            if page.next_cursor is None or len(listed) >= MOST_TOOLS:
                break
            page = await client.list_tools(cursor=page.next_cursor)
            listed += page.tools
        self.tools = {tool.name: McpTool(self, tool) for tool in listed[:MOST_TOOLS]}
        logger.info("server=<{}>, tools=<{}> | MCP server ready", self.name, len(self.tools))

    async def _heed(self, message: Any) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._changed.set()

    async def _follow(self, client: Client) -> None:
        """Reads the list again when the server says that it has changed, in either way it can."""
        listening = asyncio.create_task(self._listen(client), name=f"mcp listen {self.name}")
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                async with asyncio.timeout(LIST_SECONDS):
                    await self._list(client)
                await asyncio.sleep(CALM_SECONDS)
        except Exception as error:  # noqa: BLE001  # the root of a task: a server may do anything
            self.reason = _plain(error)
            self._lost.set()
        finally:
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self, client: Client) -> None:
        """As servers since 2026-07-28 tell it; the older ones just say so."""
        with contextlib.suppress(ListenNotSupportedError, SubscriptionLost, MCPError):
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self._changed.set()

    async def call(self, tool: str, given: dict[str, Any]) -> tuple[bool, str]:
        """Whether it went well, and what the tool said. Raises `TimeoutError`."""
        async with asyncio.timeout(self._seconds):
            try:
                async with asyncio.timeout(BACK_SECONDS):
                    await self._ready.wait()
            except TimeoutError:
                return False, f"The server {self.name} is not there: {self.reason or 'it starts'}"
            assert self._client  # noqa: S101  # ready
            try:
                result = await self._client.call_tool(tool, given)
            except MCPError as error:
                if self.server.kind != "stdio" or self._lost.is_set():
                    self._lost.set()  # a new line costs little, and a dead one looks the same
                return False, str(error)[:MOST_OUTPUT]
            return not result.is_error, _said(result)


class McpTool(AgentTool):
    """One tool of a server, as Strands sees it."""

    def __init__(self, keeper: Keeper, tool: Any) -> None:
        super().__init__()
        self._keeper = keeper
        self.theirs = tool.name
        self._name = _name_here(f"{keeper.name}_{tool.name}")
        schema = tool.input_schema if len(json.dumps(tool.input_schema)) <= MOST_SPEC else {"type": "object"}
        told = (tool.description or tool.name)[:MOST_SPEC]
        self._spec: ToolSpec = {"name": self._name, "description": told, "inputSchema": {"json": schema}}

    @property
    def tool_name(self) -> str:
        return self._name

    @property
    def tool_spec(self) -> ToolSpec:
        return self._spec

    @property
    def asks(self) -> bool:
        """Whether every tool of its server waits for a person."""
        return self._keeper.approve

    @property
    def sources(self) -> tuple[str, str]:
        """Its server, and its own name there, as agents name them."""
        return self._keeper.name, f"{self._keeper.name}.{self.theirs}"

    @property
    def tool_type(self) -> str:
        return "mcp"

    async def stream(self, tool_use: ToolUse, invocation_state: dict[str, Any], **_: Any) -> ToolGenerator:  # noqa: ARG002
        try:
            well, said = await self._keeper.call(self.theirs, tool_use["input"])
        except TimeoutError:
            well, said = False, "the tool took too long"
        except Exception as error:  # noqa: BLE001  # a server may do anything
            logger.warning(
                "server=<{}>, error=<{}> | MCP call failed", self._keeper.name, type(error).__name__
            )
            well, said = False, "the tool failed"
        status = "success" if well else "error"
        yield {"toolUseId": tool_use["toolUseId"], "status": status, "content": [{"text": said}]}


def _name_here(name: str) -> str:
    """As models may call it. Names that would be cut alike are told apart."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if len(plain) <= MOST_NAME:
        return plain
    return f"{plain[: MOST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _said(result: CallToolResult) -> str:
    """The texts of a result, or else its data, bounded; pictures and files by their kind."""
    text = "\n".join(_in_words(part) for part in result.content)
    if not result.content and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    return text if len(text) <= MOST_OUTPUT else text[:MOST_OUTPUT] + "… (cut)"


def _in_words(part: ContentBlock) -> str:
    match part:
        case TextContent(text=text) | EmbeddedResource(resource=TextResourceContents(text=text)):
            return text
        case ResourceLink(name=name, uri=uri):
            return f"{name}: {uri}"
    return f"({part.type})"


def _plain(error: BaseException) -> str:
    """Why a line is down, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case TimeoutError():
            return f"it did not answer in {CONNECT_SECONDS:.0f} s"
        case FileNotFoundError():
            return "there is no such program"
        case PermissionError():
            return "the program may not be run"
        case MCPError():
            return " ".join(str(error).split())[:MOST_REASON]
    return f"it cannot be reached or speaks no MCP ({type(error).__name__})"
