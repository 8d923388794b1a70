"""What went wrong in a model: a code of the contract, one sentence, and whether asking again can
help.

The provider's own words decide where they are known, and never reach a client (see
`app.agents.words`).
"""

import asyncio
import json
import math
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp
from botocore import exceptions as aws
from strands.types.exceptions import (
    ContextWindowOverflowException,
    EventLoopException,
    ModelThrottledException,
)

from app.agents.kinds import AWS_CODES, KINDS, NO_MODEL, STATUSES, TEXTS
from app.agents.message import ModelMessage
from app.agents.models.eventstream import BadFrame
from app.errors import ModelFailure

_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


class TruncatedStream(Exception):
    """The model's stream ended without a stop reason."""


class ProviderError(Exception):
    """A server answered with an error: its HTTP status (200 when it came in the stream) and its
    words.

    `retry_after` in seconds, where it said so.
    """

    def __init__(self, status: int, text: str, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Trouble:
    """One answer that is none: HTTP status or 0, the name AWS gives it or "", the words, `Retry-After`."""

    status: int
    name: str
    words: str
    retry_after: int | None = None

    @property
    def kind(self) -> str:
        """Its kind in `KINDS`: by the words, else by the name, else by the status."""
        for pattern, kind in TEXTS:
            if pattern.search(self.words):
                return kind
        if self.status == 503 and self.retry_after:
            return "busy"
        kind = AWS_CODES.get(self.name.lower()) or STATUSES.get(self.status) or self._by_hundred
        return "not_found" if kind in ("refused", "broke") and NO_MODEL.search(self.words) else kind

    @property
    def _by_hundred(self) -> str:
        return STATUSES.get(self.status // 100 * 100, "fault")


def failure(kind: str, retry_after: int | None = None) -> ModelFailure:
    """The failure of this kind."""
    found = KINDS[kind]
    return ModelFailure(found.code, found.sentence, retry=found.retry, retry_after=retry_after)


def said_nothing(reason: str, last: ModelMessage) -> ModelFailure:
    """The failure of a reply without a single character of text, by the model's stop reason."""
    if reason == "max_tokens":
        return failure("empty_thinking" if last.has_thought else "empty_cut")
    if reason in ("content_filtered", "guardrail_intervened"):
        return failure("empty_filtered")
    if reason.startswith("limit_"):
        return failure("empty_loop")
    return failure("empty_thought" if last.has_thought else "empty")


def unwrapped(error: BaseException) -> BaseException:
    """The exception itself where Strands has wrapped it."""
    while isinstance(error, EventLoopException):
        error = error.original_exception
    return error


def translated(error: BaseException, *, said: bool = False) -> ModelFailure | None:
    """The failure that this exception means, or None when it is not the model's.

    `said`: something of the reply was there before. A prompt that is too long is too long before
    the first character; Ollama repeats the overflow of another chat when its engine dies later.
    """
    if isinstance(error, ModelFailure):
        return error
    kind = _kind(error)
    if kind == "overflow" and said:
        kind = "crashed"
    trouble = trouble_of(error)
    return failure(kind, trouble.retry_after) if kind else None


def is_momentary(error: BaseException) -> bool:
    """Whether the same request, sent again at once, can be expected to work."""
    match error:
        case aiohttp.ClientConnectorError() | asyncio.TimeoutError():
            return False
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionResetError():
            return True
        case aws.ConnectionClosedError():
            return True
        case aws.HTTPClientError(kwargs={"error": Exception() as inner}):
            return is_momentary(inner)
    return trouble_of(error).kind in ("loading", "bad_call")


def trouble_of(error: BaseException) -> Trouble:
    """What a provider said, whatever its client library made of it."""
    match error:
        case ProviderError(status=status, retry_after=after):
            return Trouble(status, "", str(error), after)
        case aws.ClientError(response=response):
            told, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
            after = seconds(meta.get("HTTPHeaders", {}).get("retry-after"))
            name = str(told.get("Code", ""))
            return Trouble(meta.get("HTTPStatusCode", 0), name, str(told.get("Message", "")), after)
    return Trouble(0, type(error).__name__, str(error))


def seconds(header: str | None) -> int | None:
    """A `Retry-After`, a number or a date, in seconds: at least one, at most an hour."""
    told = (header or "").strip()
    try:
        left = (
            float(told) if _NUMBER.fullmatch(told) else parsedate_to_datetime(told).timestamp() - time.time()
        )
    except (ValueError, OverflowError):
        return None
    return max(1, math.ceil(min(left, 3600)))


def _kind(error: BaseException) -> str:
    match error:
        case ContextWindowOverflowException():
            return "overflow"
        case ModelThrottledException():
            return "throttled"
        case ProviderError() | aws.ClientError():
            return trouble_of(error).kind
        case TruncatedStream() | BadFrame() | json.JSONDecodeError():
            return "broke"
        case aws.BotoCoreError() | aws.HTTPClientError():
            return _aws_kind(error)
        case aiohttp.ClientError() | OSError():  # TimeoutError is an OSError
            return _network_kind(error)
    return "unknown" if type(error).__module__.startswith(("botocore", "aiobotocore", "strands")) else ""


def _network_kind(error: BaseException) -> str:
    match error:
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return "address"
        case aiohttp.ClientSSLError():
            return "tls"
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return "away"
        case asyncio.TimeoutError():
            return "timeout"
        case aiohttp.ClientError() | ConnectionError():
            return "broke"
        case FileNotFoundError() | PermissionError():  # where credentials are read at the call
            return "aws_files"
    return ""


def _aws_kind(error: BaseException) -> str:
    return next((kind for types, kind in _AWS_TYPES if isinstance(error, types)), "aws_setup")


_AWS_TYPES: list[tuple[tuple[type[Exception], ...], str]] = [  # special ones before their parents
    ((aws.NoCredentialsError,), "no_credentials"),
    ((aws.PartialCredentialsError,), "half_key"),
    ((aws.SSOError, aws.TokenRetrievalError, aws.NoAuthTokenError, aws.LoginError), "sign_in"),
    ((aws.CredentialRetrievalError, aws.MetadataRetrievalError), "credentials"),
    ((aws.SSLError,), "tls"),
    ((aws.ReadTimeoutError,), "timeout"),
    ((aws.ConnectionClosedError, aws.ResponseStreamingError, aws.IncompleteReadError), "broke"),
    ((aws.ConnectionError, aws.HTTPClientError), "away"),
    ((aws.InvalidRegionError, aws.NoRegionError, aws.EndpointProviderError), "region"),
    ((aws.ProfileNotFound,), "profile"),
    ((aws.MissingDependencyException,), "dependency"),
    ((aws.ConfigNotFound, aws.ConfigParseError, aws.InvalidConfigError), "aws_files"),
    ((aws.ParamValidationError,), "not_found"),
]
