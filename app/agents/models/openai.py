"""Any server that speaks OpenAI's chat completions: llama.cpp, vLLM, SGLang, LM Studio, LiteLLM,
Ollama.

Strands' own model needs OpenAI's package, builds a client per call and takes a torn answer for a
whole one; this one asks and reads by itself. What the server is (its window, whether its model
takes tools) it asks the server, where that tells.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import aiohttp
from loguru import logger
from strands.models import Model
from strands.types.content import Messages

from app.agents.abilities import Abilities
from app.agents.failures import ProviderError, failure, seconds
from app.agents.models.fresh import session_for
from app.agents.models.lines import MOST_ERROR, batches, first_bytes, json_body, open_session
from app.agents.models.openai_server import Asked
from app.agents.models.openai_wire import Answer, messages_for, told, tools_for
from app.agents.models.provider import Provider
from app.settings import Settings

LOADING_SECONDS = 1
MOST_WHOLE = 16 * 1024 * 1024  # bytes of an answer that comes in one piece
MAY_BE_LEFT_OUT = ("stream_options", "temperature", "return_progress", "max_tokens")
_UNWANTED = re.compile(
    r"unsupported|unrecogni[sz]ed|unknown|not support|not permitted|extra|unexpected|invalid"
)
_LOADING = re.compile(r"loading model|model is (currently )?(being )?load", re.IGNORECASE)


async def open(settings: Settings, stack: AsyncExitStack) -> Provider:
    """The server as in the settings."""
    session = await stack.enter_async_context(open_session(settings.max_runs + 8))
    return Provider("openai", settings.openai_model_id, partial(OpenAIModel, session, settings), _ask)


async def listed(settings: Settings) -> list[str]:
    """The names of the models that the server lists."""
    async with open_session(1) as session:
        models = await OpenAIModel(session, settings, "").server.models()
    return [str(one["id"]) for one in models or () if "id" in one]


async def _ask(model: Model, able: Abilities) -> None:
    assert isinstance(model, OpenAIModel)  # noqa: S101  # built above
    server = await model.server.now()
    able.tools = able.tools and server.tools
    able.window = model.window or server.window


class OpenAIModel(Model):
    """One model of one server. `session` is shared and not closed here; copies know together what was
    refused.
    """

    def __init__(self, session: aiohttp.ClientSession, settings: Settings, model_id: str) -> None:
        self._session = session
        self._base = settings.openai_base_url
        self._model_id = model_id
        key = settings.openai_api_key.get_secret_value()
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.config = {"max_tokens": settings.max_tokens, "temperature": settings.temperature}
        self._names = {name: name for name in MAY_BE_LEFT_OUT}  # under which it is sent, until it is refused
        self._thoughts: str | None = None
        self.window = settings.openai_ctx_tokens
        self.server = Asked(session, self._base, self._headers, model_id)

    def get_config(self) -> dict[str, Any]:
        return {"model_id": self._model_id}

    def update_config(self, **_: Any) -> None:
        """There is nothing to configure."""

    async def structured_output(self, *_: Any, **__: Any) -> AsyncGenerator[dict[str, Any], None]:
        raise NotImplementedError
        yield {}

    async def stream(
        self,
        messages: Messages,
        tool_specs: Any = None,
        system_prompt: str | None = None,
        *,
        fresh: bool = False,
        **_: Any,
    ) -> AsyncGenerator[Any, None]:
        request = partial(self._request, messages, tool_specs, system_prompt)
        async with session_for(self._session, fresh) as session, AsyncExitStack() as stack:
            while (response := await self._asked(stack, session, request)) is None:
                yield {"progress": {"phase": "loading"}}
            yield {"messageStart": {"role": "assistant"}}
            answer = Answer()
            async for chunk in _chunks(response, answer):
                yield chunk
            self._thoughts = answer.thoughts or self._thoughts

    def _request(self, messages: Messages, specs: Any, system: str | None) -> dict[str, Any]:
        request = {
            "model": self._model_id,
            "messages": messages_for(messages, system, self._thoughts),
            "stream": True,
        }
        options = {"stream_options": {"include_usage": True}, **self.config}
        if self.server.last.progress:
            options["return_progress"] = True
        request |= {self._names[name]: value for name, value in options.items() if name in self._names}
        if tools := tools_for(specs):
            request["tools"] = tools
        return request

    async def _asked(
        self, stack: AsyncExitStack, session: aiohttp.ClientSession, make: Callable[[], dict[str, Any]]
    ) -> aiohttp.ClientResponse | None:
        """The open answer; None when the server loads its model. Raises what the server says."""
        while True:
            request = make()
            response = await stack.enter_async_context(
                session.post(
                    f"{self._base}/chat/completions",
                    **json_body(request, self._headers),
                    allow_redirects=False,
                )
            )
            if response.status == 200 and response.content_type != "text/html":
                return response
            error = await _refusal(response)
            response.close()
            if response.status == 503 and _LOADING.search(str(error)):
                await asyncio.sleep(LOADING_SECONDS)
                return None
            if response.status not in (400, 422) or not self._left_out(str(error), request):
                raise error

    def _left_out(self, words: str, request: dict[str, Any]) -> bool:
        """Leaves out, from now on, the option that these words refuse; whether there is one."""
        if not _UNWANTED.search(words.lower()):
            return False
        if "max_completion_tokens" in words and "max_tokens" in request:
            self._names["max_tokens"] = "max_completion_tokens"
            return True
        named = next((name for name in MAY_BE_LEFT_OUT if name in words and name in request), None)
        if named is None:
            return False
        logger.info("model=<{}>, option=<{}> | left out, the server refuses it", self._model_id, named)
        self._names.pop(named, None)
        return True


async def _chunks(response: aiohttp.ClientResponse, answer: Answer) -> AsyncGenerator[Any, None]:
    """The answer as Strands has it, its end as soon as it is known. Raises what the server says."""
    ended = False
    async for lines in _lines(response):
        said = answer.hear(lines)
        for kind, what in said:
            yield _chunk(kind, what)
        if not said:
            yield {"progress": {}}  # a sign of life
        if answer.error:
            raise answer.error
        if answer.arrived and not ended:
            ended = True
            for chunk in _ending(answer):
                yield chunk
        if answer.done:
            break
    if answer.usage:
        names = {"inputTokens": "prompt_tokens", "outputTokens": "completion_tokens"}
        yield {"metadata": {"usage": {ours: answer.usage.get(theirs) for ours, theirs in names.items()}}}


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[list[bytes], None]:
    if response.content_type == "application/json":  # it does not stream
        yield [b"".join((await first_bytes(response.content, MOST_WHOLE)).splitlines())]
    async for lines in batches(response.content):
        yield lines


def _chunk(kind: str, what: Any) -> Any:
    if kind == "progress":
        processed, total = what
        return {"progress": {"phase": "reading", "processed": processed, "total": total}}
    delta = {"text": what} if kind == "text" else {"reasoningContent": {"text": what}}
    return {"contentBlockDelta": {"delta": delta}}


def _ending(answer: Answer) -> Iterator[Any]:
    for kind, text in answer.held_back():
        yield _chunk(kind, text)
    for used, name, arguments in answer.calls:
        yield {"contentBlockStart": {"start": {"toolUse": {"name": name, "toolUseId": used}}}}
        yield {"contentBlockDelta": {"delta": {"toolUse": {"input": arguments}}}}
        yield {"contentBlockStop": {}}
    yield {"messageStop": {"stopReason": answer.reason}}


async def _refusal(response: aiohttp.ClientResponse) -> Exception:
    if response.status == 200:
        return failure("address")  # a page
    body = (await first_bytes(response.content, MOST_ERROR)).decode("utf-8", "replace")
    after = seconds(response.headers.get("Retry-After"))
    try:
        return told(response.status, json.loads(body), after)
    except ValueError:
        return ProviderError(response.status, body, after)
