"""The lines to MCP servers, each with a bound: what a server sends never grows without end here.

The SDK's own line to a program reads a message of any length, and its client of HTTP follows
redirects.
"""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import httpx2
from mcp.client.sse import sse_client
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from app.agents.mcpfile import McpServer

MOST_MESSAGE = 4 * 1024 * 1024  # bytes of one message
LEAVE_SECONDS = 2.0  # for a program to end by itself
QUIET_SECONDS = 300.0


def line_to(server: McpServer, on_lost: Callable[[], None]) -> Any:
    """The transport to this server, for the SDK's client; `on_lost` is called when a line ends that cannot
    be made anew by itself.
    """
    if server.kind == "stdio":
        return _program(server, on_lost)
    if server.kind == "sse":
        client = partial(_http, on_end=on_lost)
        return sse_client(server.url, server.headers, 10.0, QUIET_SECONDS, client)
    return _reachable_address(server)


@asynccontextmanager
async def _reachable_address(server: McpServer) -> AsyncGenerator[Any, None]:
    async with (
        _http(server.headers) as client,
        streamable_http_client(server.url, http_client=client) as line,
    ):
        yield line


def _http(
    headers: dict[str, str] | None = None,
    timeout: Any = None,
    auth: Any = None,
    on_end: Callable[[], None] = lambda: None,
) -> Any:
    return httpx2.AsyncClient(
        headers=headers,
        timeout=timeout or httpx2.Timeout(10.0, read=QUIET_SECONDS),
        auth=auth,
        follow_redirects=False,
        trust_env=False,
        transport=_Bounded(on_end),
    )


class _Bounded(httpx2.AsyncHTTPTransport):
    """Cuts an answer, or one event of a stream, that is too long; tells when a stream ends."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        super().__init__()
        self._on_end = on_end

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await super().handle_async_request(request)
        answer.stream = _Body(answer.stream, self._on_end if request.method == "GET" else lambda: None)
        return answer


class _Body(httpx2.AsyncByteStream):
    def __init__(self, inner: Any, on_end: Callable[[], None]) -> None:
        self._inner = inner
        self._on_end = on_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self._inner:
                cut = chunk.rfind(b"\n")
                size = len(chunk) - cut - 1 if cut >= 0 and len(chunk) <= MOST_MESSAGE else size + len(chunk)
                if size > MOST_MESSAGE:
                    raise httpx2.ReadError("the message is too long")
                yield chunk
        finally:
            self._on_end()

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def _program(server: McpServer, on_lost: Callable[[], None]) -> AsyncGenerator[Any, None]:
    process = await asyncio.create_subprocess_exec(
        server.command,
        *server.args,
        env=get_default_environment() | server.env,  # nothing of ours: no keys, no Redis
        cwd=server.cwd,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        limit=MOST_MESSAGE,
        start_new_session=True,
    )
    told, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, said = anyio.create_memory_object_stream[SessionMessage](0)
    tasks = [
        asyncio.create_task(_hear(process, told, on_lost), name="mcp hear"),
        asyncio.create_task(_say_line(process, said), name="mcp say"),
    ]
    try:
        yield read, write
    finally:
        for stream in (told, read, write, said):
            stream.close()
        await _end_line(process, tasks)


async def _hear(process: Process, told: Any, on_lost: Callable[[], None]) -> None:
    assert process.stdout  # noqa: S101  # it is a pipe
    try:
        while line := await process.stdout.readline():
            with contextlib.suppress(ValueError):  # a line that is no message is none
                await told.send(SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False)))
    except (ValueError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass  # a message without end, or we are leaving
    finally:
        on_lost()
        told.close()


async def _say_line(process: Process, said: Any) -> None:
    assert process.stdin  # noqa: S101  # it is a pipe
    with contextlib.suppress(OSError, anyio.ClosedResourceError):
        async for message in said:
            process.stdin.write(
                message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
            )
            await process.stdin.drain()


async def _end_line(process: Process, tasks: list[asyncio.Task[None]]) -> None:
    """Ends the program and all that it started: asked, then made to."""
    for task in tasks:
        task.cancel()
    if process.stdin:
        process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await process.wait()
                break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
