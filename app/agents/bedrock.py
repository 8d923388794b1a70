"""AWS Bedrock without threads: Strands builds the request, aiobotocore carries it, a cancelled task closes it at once.

Left out against Strands' own model: guardrail redaction and native structured output, which no setting turns on.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import boto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from strands.models.bedrock import BEDROCK_CONTEXT_WINDOW_OVERFLOW_MESSAGES, BedrockModel
from strands.types.content import Messages
from strands.types.exceptions import ContextWindowOverflowException
from strands.types.streaming import StreamEvent

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
        stream = None
        try:
            stream = (await self._aio.converse_stream(**request))["stream"]
            async for chunk in stream:
                yield chunk
        except ClientError as error:
            if any(text in str(error) for text in BEDROCK_CONTEXT_WINDOW_OVERFLOW_MESSAGES):
                raise ContextWindowOverflowException(str(error)) from error
            raise
        finally:
            if stream is not None:
                stream.close()


async def open_client(stack: AsyncExitStack, region: str, most: int) -> Any:
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
