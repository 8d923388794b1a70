"""Ollama through one HTTP session per process, read in the pieces in which the network brings them.

Strands' own model builds a client (and its TLS context) per call and passes each token through
httpx and pydantic; this one keeps its formatting of requests and reads the answer, NDJSON, itself.
"""

import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from loguru import logger
from strands.models import Model
from strands.models.ollama import OllamaModel
from strands.types.content import ContentBlock, Message, Messages
from strands.types.streaming import StreamEvent

from app.agents.abilities import Abilities
from app.agents.calls import MOST_CALLS
from app.agents.failures import ProviderError, failure, seconds
from app.agents.models.fresh import session_for
from app.agents.models.lines import MOST_ERROR, batches, first_bytes, json_body, loaded, open_session
from app.agents.models.provider import Provider
from app.agents.shown import has_picture
from app.settings import Settings

SHOW_SECONDS = 5


async def open(settings: Settings, stack: AsyncExitStack) -> Provider:
    """Ollama as in the settings."""
    session = await stack.enter_async_context(open_session(settings.max_runs + 8))

    options = {"num_ctx": settings.ctx_tokens}
    if settings.ollama_num_batch:
        options["num_batch"] = settings.ollama_num_batch

    async def ask(model: Model, able: Abilities) -> None:
        able.window = settings.ctx_tokens
        if isinstance(model, LeanOllamaModel):
            await model.ask(able)

    def build(model_id: str) -> LeanOllamaModel:
        return LeanOllamaModel(
            session,
            settings.ollama_host,
            model_id=model_id,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            options=options,
        )

    return Provider("ollama", settings.ollama_model_general, build, ask)


class LeanOllamaModel(OllamaModel):
    """Strands' Ollama model with a reader of its own. `session` is shared and not closed here."""

    def __init__(self, session: aiohttp.ClientSession, host: str, **config: Any) -> None:
        super().__init__(host, **config)
        self._session = session
        self._url = f"{host}/api/chat"

    def _format_request_message_contents(self, role: str, content: ContentBlock) -> list[dict[str, Any]]:
        """What a model thought before a tool call is not sent back to it."""
        return (
            [] if "reasoningContent" in content else super()._format_request_message_contents(role, content)
        )

    def _format_request_messages(self, messages: Messages, system_prompt: str | None = None) -> list[Any]:
        """The pictures of a message go along with its words, in one message."""
        formed = [{"role": "system", "content": system_prompt}] if system_prompt else []
        for message in messages:
            if has_picture(message["content"]):
                formed.append(_with_pictures(message))
            else:
                formed += super()._format_request_messages([message])
        return formed

    async def ask(self, able: Abilities) -> None:
        """Asks Ollama what the model takes; what it does not tell, or not in time, shows itself later."""
        try:
            async with self._session.post(
                f"{self.host}/api/show",
                json={"model": self.config["model_id"]},
                timeout=aiohttp.ClientTimeout(total=SHOW_SECONDS),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    return
                told = await response.json(content_type=None)
                can, info = told.get("capabilities"), told.get("model_info") or {}
                able.tools = able.tools and (not isinstance(can, list) or "tools" in can)
                able.vision = isinstance(can, list) and "vision" in can
                able.window = min([able.window, *_trained(info)])
                able.known = True
        except TimeoutError:
            able.known = True
        except (aiohttp.ClientError, ValueError, AttributeError) as error:
            logger.debug("error=<{}> | capabilities unknown", type(error).__name__)

    async def stream(
        self,
        messages: Messages,
        tool_specs: Any = None,
        system_prompt: str | None = None,
        *,
        fresh: bool = False,
        **_: Any,
    ) -> AsyncGenerator[StreamEvent, None]:
        request = self.format_request(messages, tool_specs, system_prompt)
        tools: list[dict[str, Any]] = []
        last: dict[str, Any] = {}
        async with (
            session_for(self._session, fresh) as session,
            session.post(self._url, **json_body(request), allow_redirects=False) as response,
        ):
            if response.status != 200:
                after = seconds(response.headers.get("Retry-After"))
                raise _refused(response.status, await first_bytes(response.content, MOST_ERROR), after)
            yield {"messageStart": {"role": "assistant"}}
            async for lines in batches(response.content):
                piece = _Piece(lines)
                if piece.thinking:
                    yield {"contentBlockDelta": {"delta": {"reasoningContent": {"text": piece.thinking}}}}
                elif not piece.text:
                    yield {}  # a sign of life
                if piece.text:
                    yield {"contentBlockDelta": {"delta": {"text": piece.text}}}
                if piece.error:
                    raise piece.error
                tools += piece.tools
                if last := piece.last:
                    break
        if last:
            for chunk in _ending(last, tools):
                yield chunk


def _with_pictures(message: Message) -> dict[str, Any]:
    blocks = message["content"]
    pictures = [b64encode(block["image"]["source"]["bytes"]).decode() for block in blocks if "image" in block]
    text = "\n\n".join(block["text"] for block in blocks if "text" in block)
    return {"role": message["role"], "content": text, "images": pictures}


def _trained(info: dict[str, Any]) -> list[int]:
    """The longest window the model was made for, under the name of its family."""
    return [value for name, value in info.items() if name.endswith(".context_length") and type(value) is int]


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
            for line in loaded(lines):
                self._take(line)
                if self.last:  # what stands behind it is none of the answer's
                    return
        except ProviderError as error:
            self.error = error
        except (ValueError, AttributeError, TypeError, RecursionError):
            self.error = failure("address" if lines[0].lstrip().startswith(b"<") else "no_answer")

    def _take(self, line: dict[str, Any]) -> None:
        if line.get("error"):
            raise _refused(200, str(line["error"]).encode())
        message = line.get("message") or {}
        self.text += message.get("content") or ""
        self.thinking += message.get("thinking") or ""
        calls = message.get("tool_calls") or []
        self.tools += calls if isinstance(calls, list) else [calls]
        if line.get("done"):
            self.last = line


def _ending(last: dict[str, Any], tools: list[Any]) -> list[StreamEvent]:
    chunks: list[Any] = [chunk for call in tools[: MOST_CALLS + 1] for chunk in _call(call)]
    reason = "tool_use" if tools else "max_tokens" if last.get("done_reason") == "length" else "end_turn"
    usage = {"inputTokens": last.get("prompt_eval_count"), "outputTokens": last.get("eval_count")}
    return [*chunks, {"messageStop": {"stopReason": reason}}, {"metadata": {"usage": usage}}]


def _call(call: Any) -> list[Any]:
    """A call of Ollama's, or what a template has made of it: the function a name, the arguments text."""
    call = call if isinstance(call, dict) else {}
    function = call.get("function")
    function = function if isinstance(function, dict) else {**call, "name": function}
    arguments = function.get("arguments") or {}
    return [
        {"contentBlockStart": {"start": {"toolUse": {"name": function.get("name")}}}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": arguments}}}},
        {"contentBlockStop": {}},
    ]


def _refused(status: int, body: bytes, retry_after: int | None = None) -> Exception:
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        told = json.loads(text)
        text = str(told["error"]) if isinstance(told, dict) and "error" in told else text
    return ProviderError(status, text, retry_after)
