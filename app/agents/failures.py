"""What went wrong in a model, told by a code of the contract and one sentence.

Never the provider's own words.
"""

import asyncio
import json

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as AwsConnectionError
from strands.types.exceptions import (
    ContextWindowOverflowException,
    EventLoopException,
    ModelThrottledException,
)

from app.agents.models.eventstream import BadFrame
from app.errors import ModelFailure


class TruncatedStream(Exception):
    """The model's stream ended without a stop reason."""


class OllamaError(Exception):
    """Ollama answered with an error: its HTTP status (200 when it came in the stream) and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


_SENTENCES = {
    "model_error": "The model failed while it answered. Try again.",
    "model_unavailable": "The model cannot be reached right now. Check that it runs, then try again.",
    "model_not_found": "The model is not there. Check its name in the settings (with Ollama: pull it first).",
    "model_auth": "The model refused our credentials. Check them, the region and the access to the model.",
    "model_throttled": "The model gets too many requests right now. Wait a little, then try again.",
    "model_timeout": "The model did not answer in time. Try again.",
    "context_overflow": (
        "The chat is longer than the model can read. Begin a new chat, or shorten the message."
    ),
}

_AWS = {
    "AccessDeniedException": "model_auth",
    "ExpiredTokenException": "model_auth",
    "ExpiredToken": "model_auth",
    "UnrecognizedClientException": "model_auth",
    "InvalidSignatureException": "model_auth",
    "InvalidClientTokenId": "model_auth",
    "ResourceNotFoundException": "model_not_found",
    "ModelNotReadyException": "model_unavailable",
    "ThrottlingException": "model_throttled",
    "throttlingException": "model_throttled",
    "ServiceQuotaExceededException": "model_throttled",
    "ServiceUnavailableException": "model_unavailable",
    "serviceUnavailableException": "model_unavailable",
    "ModelTimeoutException": "model_timeout",
}
_HTTP = {
    401: "model_auth",
    403: "model_auth",
    404: "model_not_found",
    408: "model_timeout",
    429: "model_throttled",
}


def translated(error: BaseException) -> ModelFailure | None:
    """The failure that this exception means, or None when it is not the model's."""
    while isinstance(error, EventLoopException):
        error = error.original_exception
    if isinstance(error, ModelFailure):
        return error
    code = _code(error)
    return ModelFailure(code, _SENTENCES[code]) if code else None


def _code(error: BaseException) -> str | None:  # a table by type, most special first
    match error:
        case ContextWindowOverflowException():
            return "context_overflow"
        case ModelThrottledException():
            return "model_throttled"
        case OllamaError(status=status):
            return _HTTP.get(status, "model_unavailable" if status in (502, 503, 504) else "model_error")
        case NoCredentialsError() | PartialCredentialsError():
            return "model_auth"
        case ClientError(response=response):
            return _aws(response.get("Error", {}))
        case asyncio.TimeoutError():
            return "model_timeout"
        case aiohttp.ClientConnectorError() | AwsConnectionError():
            return "model_unavailable"
        case HTTPClientError() if "timeout" in type(error).__name__.lower():
            return "model_timeout"
        case HTTPClientError():
            return "model_unavailable"
        case TruncatedStream() | BadFrame() | json.JSONDecodeError():
            return "model_error"
        case aiohttp.ClientError() | BotoCoreError() | ConnectionError():
            return "model_error"
    return (
        "model_error" if type(error).__module__.startswith(("botocore", "aiobotocore", "strands")) else None
    )


def _aws(error: dict[str, str]) -> str:
    code, message = error.get("Code", ""), error.get("Message", "").lower()
    if code == "ValidationException" and ("model identifier" in message or "model id" in message):
        return "model_not_found"
    return _AWS.get(code, "model_error")
