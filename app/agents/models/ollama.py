"""Ollama through one HTTP session per process, read in the pieces in which the network brings them.

Strands' own model builds a client (and its TLS context) per call and passes each token through httpx and
pydantic; this one keeps its formatting of requests and reads the answer, NDJSON, itself.
"""

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from loguru import logger
from strands.models import Model
from strands.models.ollama import OllamaModel
from strands.types.content import ContentBlock, Messages
from strands.types.exceptions import ContextWindowOverflowException
from strands.types.streaming import StreamEvent

from app.agents.failures import OllamaError
from app.agents.models.provider import Abilities, Provider
from app.errors import ModelFailure
from app.settings import Settings

CONNECT_SECONDS = 5
SHOW_SECONDS = 10
MOST_LINE = 4 * 1024 * 1024


async def open(settings: Settings, stack: AsyncExitStack) -> Provider:
    """Ollama as in the settings."""
    session = await stack.enter_async_context(open_session(settings.max_runs + 8))

    def build(model_id: str) -> LeanOllamaModel:
        return LeanOllamaModel(
            session,
            settings.ollama_host,
            model_id=model_id,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            options={"num_ctx": settings.ctx_tokens},
        )

    return Provider("ollama", settings.ollama_model_general, build, _abilities)


async def _abilities(model: Model) -> Abilities:
    return Abilities(tools=isinstance(model, LeanOllamaModel) and await model.knows_tools())


def open_session(most: int) -> aiohttp.ClientSession:
    """The session for all calls; silence is bounded by the deadlines of the run, not here."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=most, keepalive_timeout=30),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        trust_env=False,
        auto_decompress=False,
    )


class LeanOllamaModel(OllamaModel):
    """Strands' Ollama model with a reader of its own. `session` is shared and not closed here."""

    def __init__(self, session: aiohttp.ClientSession, host: str, **config: Any) -> None:
        super().__init__(host, **config)
        self._session = session
        self._url = f"{host}/api/chat"
        self._knows_tools: bool | None = None

    def _format_request_message_contents(self, role: str, content: ContentBlock) -> list[dict[str, Any]]:
        """What a model thought before a tool call is not sent back to it."""
        return (
            [] if "reasoningContent" in content else super()._format_request_message_contents(role, content)
        )

    async def knows_tools(self) -> bool:
        """Whether the model takes tools, asked of Ollama once; assumed when it does not tell."""
        if self._knows_tools is None:
            try:
                async with self._session.post(
                    f"{self.host}/api/show",
                    json={"model": self.config["model_id"]},
                    timeout=aiohttp.ClientTimeout(total=SHOW_SECONDS),
                    allow_redirects=False,
                ) as response:
                    if response.status != 200:
                        return True
                    capabilities = (await response.json(content_type=None)).get("capabilities")
            except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError) as error:
                logger.debug("error=<{}> | capabilities unknown", type(error).__name__)
                return True
            self._knows_tools = capabilities is None or "tools" in capabilities
        return self._knows_tools

    async def stream(
        self, messages: Messages, tool_specs: Any = None, system_prompt: str | None = None, **_: Any
    ) -> AsyncGenerator[StreamEvent, None]:
        request = self.format_request(messages, tool_specs, system_prompt)
        tools: list[dict[str, Any]] = []
        last: dict[str, Any] = {}
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockStart": {"start": {}}}
        async with self._session.post(self._url, json=request, allow_redirects=False) as response:
            if response.status != 200:
                raise _refused(response.status, await response.content.read(2000))
            async for lines in _batches(response.content):
                piece = _Piece(lines)
                if piece.thinking:
                    yield {"contentBlockDelta": {"delta": {"reasoningContent": {"text": piece.thinking}}}}
                if piece.text:
                    yield {"contentBlockDelta": {"delta": {"text": piece.text}}}
                if piece.error:
                    raise piece.error
                tools += piece.tools
                if last := piece.last:
                    break
        yield {"contentBlockStop": {}}
        if last:
            for chunk in _ending(last, tools):
                yield chunk


class _Piece:
    """What some lines of the answer say; an error among them counts after what stands before it.

    `last` is the line that ends the answer, empty until it comes.
    """

    def __init__(self, lines: list[bytes]) -> None:
        self.text = self.thinking = ""
        self.tools: list[dict[str, Any]] = []
        self.last: dict[str, Any] = {}
        self.error: Exception | None = None
        try:
            for line in _loaded(lines):
                self._take(line)
        except (OllamaError, ContextWindowOverflowException) as error:
            self.error = error
        except (ValueError, AttributeError, TypeError):
            self.error = OllamaError(200, "not a line of an answer")

    def _take(self, line: dict[str, Any]) -> None:
        if "error" in line:
            raise _refused(200, str(line["error"]).encode())
        message = line.get("message") or {}
        self.text += message.get("content") or ""
        self.thinking += message.get("thinking") or ""
        self.tools += message.get("tool_calls") or []
        if line.get("done"):
            self.last = line


def _loaded(lines: list[bytes]) -> Iterator[Any]:
    """All lines at once, which is much cheaper; one by one where one is broken, so that those before it
    count.
    """
    try:
        yield from json.loads(b"[%b]" % b",".join(lines))
    except ValueError:
        yield from map(json.loads, lines)


async def _batches(content: aiohttp.StreamReader) -> AsyncIterator[list[bytes]]:
    """The whole lines of each piece that the network brings."""
    rest = b""
    while piece := await content.readany():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MOST_LINE:
            raise ModelFailure("model_error", "The model sent something that is not an answer.")
        if lines := [line for line in lines if line.strip()]:
            yield lines
    if rest.strip():
        yield [rest]


def _ending(last: dict[str, Any], tools: list[dict[str, Any]]) -> list[StreamEvent]:
    chunks: list[Any] = []
    for call in tools:
        function = call.get("function") or {}
        start = {"name": function.get("name", ""), "toolUseId": f"tooluse_{uuid.uuid4().hex[:24]}"}
        chunks += [
            {"contentBlockStart": {"start": {"toolUse": start}}},
            {
                "contentBlockDelta": {
                    "delta": {"toolUse": {"input": json.dumps(function.get("arguments") or {})}}
                }
            },
            {"contentBlockStop": {}},
        ]
    reason = "tool_use" if tools else "max_tokens" if last.get("done_reason") == "length" else "end_turn"
    asked, made = last.get("prompt_eval_count") or 0, last.get("eval_count") or 0
    usage = {"inputTokens": asked, "outputTokens": made, "totalTokens": asked + made}
    latency = int((last.get("total_duration") or 0) / 1e6)
    return [
        *chunks,
        {"messageStop": {"stopReason": reason}},
        {"metadata": {"usage": usage, "metrics": {"latencyMs": latency}}},
    ]


def _refused(status: int, body: bytes) -> Exception:
    text = body.decode("utf-8", "replace")
    if any(message in text.lower() for message in OllamaModel.OVERFLOW_MESSAGES):
        return ContextWindowOverflowException(text)
    return OllamaError(status, text)
