"""AWS Bedrock without threads: Strands builds the request, aiobotocore signs and carries it, we
read the answer.

A cancelled task closes the connection at once, where Strands' own model reads on in a thread. Left
out against it: guardrail redaction and native structured output, which no setting turns on.
"""

import json
import re
from base64 import b64decode
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, EventStreamError
from loguru import logger
from strands.models import Model
from strands.models.bedrock import BedrockModel
from strands.types.content import Messages
from strands.types.streaming import StreamEvent

from app.agents.abilities import Abilities
from app.agents.failures import failure, translated, trouble_of
from app.agents.kinds import NO_MODEL
from app.agents.models.aws import Aws
from app.agents.models.eventstream import Frames
from app.agents.models.provider import Provider
from app.agents.words import masked
from app.errors import ModelFailure
from app.settings import Settings

_PROFILE_WANTED = re.compile(r"on-demand throughput", re.IGNORECASE)
_NO_CACHE = re.compile(r"cachePoint|prompt caching", re.IGNORECASE)
_NO_TEMPERATURE = re.compile(r"temperature.{0,60}(deprecated|not supported|unsupported)", re.IGNORECASE)
_CACHED = re.compile(r"claude|anthropic|amazon\.nova", re.IGNORECASE)
_CACHED_TOOLS = re.compile(r"claude|anthropic", re.IGNORECASE)
_BLIND = re.compile(  # https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html
    r"nova-micro|titan-text|titan-tg1|claude-(instant|v2)|llama3-(8|70|1|3)|llama3-2-[13]b|mistral-7b|mixtral"
    r"|mistral-(large|small)-24|command-|jamba|deepseek|gpt-oss|qwen3-(32b|coder|235b|next-80b)",
    re.IGNORECASE,
)
_POINT: Any = {"cachePoint": {"type": "default"}}


async def open(settings: Settings, stack: AsyncExitStack) -> Provider:
    """Bedrock as in the settings. What is wrong with the AWS set-up is told in one line, and goes on."""
    aws = Aws(settings.aws_region, settings.max_runs + 8)
    stack.push_async_callback(aws.close)
    try:
        async with aws.client():
            pass
    except (BotoCoreError, ModelFailure) as error:
        meant = translated(error)
        words = masked(trouble_of(error.__cause__ or error).words, "")
        logger.warning("code=<{}>, words=<{}> | {}", meant and meant.code, words, meant and meant.detail)

    def made_for(model_id: str) -> AioBedrockModel:
        return AioBedrockModel(
            aws,
            settings.aws_region,
            model_id=model_id,
            max_tokens=settings.max_tokens,
            temperature=settings.bedrock_temperature,
        )

    return Provider("bedrock", settings.bedrock_model_id, made_for, _tell_sight)


async def _tell_sight(model: Model, able: Abilities) -> None:
    """Bedrock does not tell; what is not known to be blind shows itself by its refusal."""
    able.vision = not _BLIND.search(str(model.get_config()["model_id"]))
    able.known = True


class AioBedrockModel(BedrockModel):
    """Strands' Bedrock model on an async client. `aws` lends it and is not closed here."""

    def __init__(self, aws: Aws, region: str, **config: Any) -> None:
        super().__init__(boto_session=_NoSession(region), **config)
        self._aws = aws
        self._region = region
        self._plain_id = self.config["model_id"]
        self._caches = bool(_CACHED.search(self.config["model_id"]))

    async def stream(
        self,
        messages: Messages,
        tool_specs: Any = None,
        system_prompt: str | None = None,
        *,
        tool_choice: Any = None,
        fresh: bool = False,
        **_: Any,
    ) -> AsyncGenerator[StreamEvent, None]:
        system: Any = [{"text": system_prompt}] if system_prompt else None
        if fresh:
            self._aws.forget()
        async with self._aws.client() as client:
            body = None
            request = self._request(messages, tool_specs, system, tool_choice)
            try:
                answer = await client.converse_stream(**request)
                body, frames = answer["stream"]._raw_stream, Frames()  # see eventstream
                yield {}  # it answers
                async for piece in body.content.iter_any():
                    for chunk in _chunks(frames.feed(piece)):
                        yield chunk
            except (ClientError, BotoCoreError) as error:
                if getattr(translated(error), "code", "") == "model_auth":
                    self._aws.forget()
                if isinstance(error, ClientError):
                    error.response["Request"] = request
                raise
            finally:
                if body is not None:
                    body.close()

    def _request(self, messages: Messages, tools: Any, system: Any, choice: Any) -> Any:
        request = self.format_request(messages, tools, system, choice)
        if self._caches:
            self._add_cache_points(request)
        return request

    def learn(self, refusal: Exception) -> bool:
        """Whether this refusal says how to ask, and asking so is new to its request.

        Several runs may be refused at once, before the first has learned.
        """
        if not isinstance(refusal, ClientError) or "Request" not in refusal.response:
            return False
        words, request = trouble_of(refusal).words, refusal.response["Request"]
        if _NO_CACHE.search(words) and _POINT in request.get("system", []):
            self._caches = False
        elif _NO_TEMPERATURE.search(words) and "temperature" in request["inferenceConfig"]:
            self.config.pop("temperature", None)
        else:
            return self._takes_profile(words, request["modelId"])
        return True

    def _takes_profile(self, words: str, asked: str) -> bool:
        """Goes on to the next inference profile; back to the plain id where none was right."""
        ids = [self._plain_id, *profiles(self._plain_id, self._region)]
        at = ids.index(asked) if asked in ids else 0
        if not (_PROFILE_WANTED.search(words) or (at and NO_MODEL.search(words))):
            return False
        self.config["model_id"] = ids[(at + 1) % len(ids)]
        if at + 1 < len(ids):
            logger.info("model=<{}> | asked through an inference profile", self.config["model_id"])
        return at + 1 < len(ids)

    def _add_cache_points(self, request: Any) -> None:
        """What is the same in each call, the system prompt and the tools, is kept by Bedrock."""
        if request.get("system"):
            request["system"] = [*request["system"], _POINT]
        if "toolConfig" in request and _CACHED_TOOLS.search(self.config["model_id"]):
            request["toolConfig"]["tools"].append(_POINT)


class _NoSession:
    """Keeps Strands from making a client of its own, which costs 90 ms and is never used."""

    def __init__(self, region: str) -> None:
        self.region_name = region

    def client(self, **_: Any) -> Any:
        return SimpleNamespace(meta=SimpleNamespace(region_name=self.region_name))


def profiles(model_id: str, region: str) -> list[str]:
    """The inference profiles to try for a model that wants one, those of the region first.

    https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
    """
    if model_id.startswith("arn:") or re.match(r"(us|eu|apac|global|us-gov|jp|au|ca)\.", model_id):
        return []
    area = "us-gov" if region.startswith("us-gov-") else region.split("-", 1)[0]
    home = {"us": "us", "eu": "eu", "ap": "apac", "us-gov": "us-gov"}.get(area)
    return [f"{prefix}.{model_id}" for prefix in (home, "global") if prefix]


def _chunks(messages: Iterator[tuple[dict[str, str], bytes]]) -> Iterator[Any]:
    """What these messages tell; text that came together stays together, and comes before what is
    wrong behind it.
    """
    text = ""
    try:
        for headers, payload in messages:
            more, other = _one_message(headers, payload)
            text += more
            if other is None:
                continue
            if text:
                said, text = text, ""
                yield _text(said)
            yield other
    finally:
        if text:
            yield _text(text)


def _one_message(headers: dict[str, str], payload: bytes) -> tuple[str, Any]:
    """The text that a message brings, or any other chunk. Raises what is wrong with it."""
    try:
        content = json.loads(payload)
        delta = content.get("delta") or {}
        if delta.keys() == {"text"} and isinstance(delta["text"], str):
            return delta["text"], None
        return "", _other(headers, content, delta)
    except (AttributeError, TypeError, ValueError):
        raise failure("no_answer") from None


def _other(headers: dict[str, str], content: Any, delta: Any) -> Any:
    """Any chunk but text. Raises `EventStreamError` for an exception in the stream."""
    if headers.get(":message-type") != "event":
        code = headers.get(":exception-type") or headers.get(":error-code", "")
        words = content.get("message") or headers.get(":error-message")
        raise EventStreamError({"Error": {"Code": code, "Message": str(words)}}, "ConverseStream")
    if redacted := (delta.get("reasoningContent") or {}).get("redactedContent"):
        delta["reasoningContent"]["redactedContent"] = b64decode(redacted)
    return {headers.get(":event-type", ""): content}


def _text(text: str) -> dict[str, Any]:
    return {"contentBlockDelta": {"delta": {"text": text}}}
