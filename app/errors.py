"""The few exceptions we raise. `app/api/problems.py` maps each to a status; nobody else knows
statuses.

AppError
├── UnknownAgent      the agent asked for has no file
├── NoSuchModel       the agent asked for, at a door that calls agents models, has no file
├── Unsupported       what a client of another door asks for is not done here
├── NotFound          no such chat, or no such question in it
├── ChatBusy          another run is going in this chat
├── QueueFull         as many messages wait in this chat as may
├── NotOpen           this reply cannot go on
├── NotAsked          this tool call waits for nobody's answer any more
├── ChatExists        a chat with the id for a new one is there already
├── FileUsed          a message names the file that is to go
├── NoVision          a picture for an agent whose model cannot see
├── InvalidFile       a file that is not of a kind that is taken, or torn
├── TooLarge          a file that is larger than one may be, or than there is room for
├── RunIdUsed         this run id has been used for something else, or can no longer be replayed
├── Overloaded        this backend makes as many replies as it may
├── RateLimited       whoever asks has more replies, or messages in this minute, than a key may
├── Draining          this backend is shutting down
│   └── TurnedAway    before it has begun anything
├── RedisUnavailable  Redis did not answer in time, or refused a write
└── ModelFailure      the model could not answer; carries one of the model codes of the contract
"""

from typing import Any


class AppError(Exception):
    """An expected failure. `code` is the contract's name for it, the text one sentence for a person."""

    code = "error"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class UnknownAgent(AppError):
    code = "unknown_agent"


class NoSuchModel(AppError):
    code = "model_not_found"


class Unsupported(AppError):
    """What is asked cannot be done here; `param` names what asks it."""

    code = "unsupported_parameter"

    def __init__(self, detail: str, *, param: str) -> None:
        super().__init__(detail)
        self.param = param


class NotFound(AppError):
    code = "not_found"


class ChatBusy(AppError):
    code = "chat_busy"


class QueueFull(AppError):
    code = "queue_full"


class NotOpen(AppError):
    code = "not_open"


class NotAsked(AppError):
    code = "not_asked"


class ChatExists(AppError):
    code = "chat_exists"


class FileUsed(AppError):
    code = "file_used"


class NoVision(AppError):
    code = "no_vision"

    def __init__(self) -> None:
        super().__init__(
            "The model of this agent cannot see pictures. Choose another agent, or send words only."
        )


class InvalidFile(AppError):
    code = "invalid"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, errors=[{"loc": ["body"], "msg": detail}])


class TooLarge(AppError):
    code = "too_large"


class RunIdUsed(AppError):
    code = "run_id_used"


class Overloaded(AppError):
    code = "overloaded"


class RateLimited(AppError):
    """`retry_after`: seconds."""

    code = "rate_limited"

    def __init__(self, detail: str, retry_after: int = 5) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Draining(AppError):
    code = "draining"


class TurnedAway(Draining):
    """Nothing has been begun: another backend may be asked the same."""


class RedisUnavailable(AppError):
    code = "redis_unavailable"


class ModelFailure(AppError):
    """`code` is one of the `model_…` codes, or `context_overflow`.

    `retry`: whether asking again can help; `retry_after`: in so many seconds, where the provider
    said so.
    """

    def __init__(self, code: str, detail: str, *, retry: bool = True, retry_after: int | None = None) -> None:
        super().__init__(detail, retry=retry)
        self.code = code
        self.retry = retry
        self.retry_after = retry_after
