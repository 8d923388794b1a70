"""AWS Bedrock without threads: Strands builds the request, aiobotocore signs and carries it, we read the
answer.

A cancelled task closes the connection at once, where Strands' own model reads on in a thread. Left out
against it: guardrail redaction and native structured output, which no setting turns on.
"""

import json
from base64 import b64decode
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import boto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, EventStreamError
from strands.models.bedrock import BEDROCK_CONTEXT_WINDOW_OVERFLOW_MESSAGES, BedrockModel
from strands.types.content import Messages
from strands.types.exceptions import ContextWindowOverflowException
from strands.types.streaming import StreamEvent

from app.agents.models.eventstream import Frames
from app.agents.models.provider import Provider
from app.settings import Settings

CONNECT_SECONDS = 5
READ_SECONDS = 300  # silence is bounded earlier, by the deadlines of the run


class AioBedrockModel(BedrockModel):
    """Strands' Bedrock model on an async client. `client` is shared and not closed here."""

    def __init__(self, client: Any, boto_session: boto3.Session, **config: Any) -> None:
        super().__init__(boto_session=boto_session, **config)
        self._aio = client

    async def stream(
        self,
        messages: Messages,
        tool_specs: Any = None,
        system_prompt: str | None = None,
        *,
        tool_choice: Any = None,
        **_: Any,
    ) -> AsyncGenerator[StreamEvent, None]:
        system = [{"text": system_prompt}] if system_prompt else None
        request = self.format_request(messages, tool_specs, system, tool_choice)  # type: ignore[arg-type]
        body, frames = None, Frames()
        try:
            body = (await self._aio.converse_stream(**request))["stream"]._raw_stream  # see eventstream
            async for piece in body.content.iter_any():
                for chunk in _chunks(frames.feed(piece)):
                    yield chunk
        except ClientError as error:
            if any(text in str(error) for text in BEDROCK_CONTEXT_WINDOW_OVERFLOW_MESSAGES):
                raise ContextWindowOverflowException(str(error)) from error
            raise
        finally:
            if body is not None:
                body.close()


def _chunks(messages: Iterator[tuple[dict[str, str], bytes]]) -> Iterator[Any]:
    """What these messages tell; text that came together stays together, and comes before what is wrong behind
    it.
    """
    text = ""
    try:
        for headers, payload in messages:
            content = json.loads(payload)
            delta = content.get("delta") or {}
            if delta.keys() == {"text"}:
                text += delta["text"]
                continue
            if text:
                said, text = text, ""
                yield _text(said)
            yield _other(headers, content, delta)
    finally:
        if text:
            yield _text(text)


def _other(headers: dict[str, str], content: Any, delta: Any) -> Any:
    """Any chunk but text. Raises `EventStreamError` for an exception in the stream."""
    if headers.get(":message-type") != "event":
        code = headers.get(":exception-type") or headers.get(":error-code", "")
        raise EventStreamError(
            {"Error": {"Code": code, "Message": str(content.get("message"))}}, "ConverseStream"
        )
    if redacted := (delta.get("reasoningContent") or {}).get("redactedContent"):
        delta["reasoningContent"]["redactedContent"] = b64decode(redacted)
    return {headers[":event-type"]: content}


def _text(text: str) -> dict[str, Any]:
    return {"contentBlockDelta": {"delta": {"text": text}}}


async def open(settings: Settings, stack: AsyncExitStack) -> Provider:
    """Bedrock as in the settings."""
    client = await _open_client(stack, settings.aws_region, settings.max_runs + 8)
    session = boto3.Session(region_name=settings.aws_region)
    warmth = {} if settings.bedrock_temperature is None else {"temperature": settings.bedrock_temperature}

    def build(model_id: str) -> AioBedrockModel:
        return AioBedrockModel(client, session, model_id=model_id, max_tokens=settings.max_tokens, **warmth)

    return Provider("bedrock", settings.bedrock_model_id, build)


async def _open_client(stack: AsyncExitStack, region: str, most: int) -> Any:
    """The client for all calls, closed with the stack; credentials by the usual AWS chain, no retries."""
    config = AioConfig(
        max_pool_connections=most,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
    )
    return await stack.enter_async_context(
        get_session().create_client("bedrock-runtime", region_name=region, config=config)
    )
