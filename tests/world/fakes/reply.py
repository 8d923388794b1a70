"""What a fake model replies and what it remembers of a request. Plain data, no server."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Body = dict[str, Any]
Fault = Literal["stall", "drop", "truncate", "malformed", "error"]


@dataclass(frozen=True)
class ToolCall:
    """A tool the model asks for before it answers."""

    name: str
    input: dict[str, Any] = field(default_factory=dict)
    tool_use_id: str = "tooluse_fake_0001"


@dataclass(frozen=True)
class Failure:
    """An error as the provider reports it: HTTP status and code where the wire has one, and its sentence."""

    status: int = 500
    code: str = "InternalServerException"
    message: str = "provider-secret-detail: something broke inside the model"
    retry_after: str | None = None


@dataclass(frozen=True)
class Reply:
    """One reply of the model. Times are seconds.

    `fault` happens after `fault_after` tokens: `stall` is silent for ever, `drop` resets the connection,
    `truncate` ends the answer politely but without its last part, `malformed` sends bytes the wire does not
    allow, `error` reports `failure` in the stream. `refuse` answers `failure` instead of any stream. `lump`
    joins that many tokens in one network write; `torn` splits every write in two. `raw` are the bytes of the
    answer instead of all that.
    """

    tokens: Sequence[str] | int = 5
    thinking: Sequence[str] = ()
    tool: ToolCall | None = None
    pace: float = 0.0
    headers_delay: float = 0.0
    first_delay: float = 0.0
    fault: Fault | None = None
    fault_after: int = 0
    refuse: bool = False
    failure: Failure = Failure()
    stop_reason: str | None = None
    lump: int = 1
    torn: bool = False
    raw: Sequence[bytes] | None = None

    @property
    def pieces(self) -> Sequence[str]:
        """The tokens themselves; a bare number stands for that many numbered words."""
        return [f"word{n} " for n in range(self.tokens)] if isinstance(self.tokens, int) else self.tokens

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class Exchange:
    """One request to the model and what became of it.

    Times are `time.monotonic()`, the same clock in every process.
    """

    path: str
    body: Body
    asked: str
    headers: Mapping[str, str] = field(default_factory=dict)
    opened_at: float = field(default_factory=time.monotonic)
    began_at: float | None = None  # its turn came, where there is only one slot
    tokens_sent: int = 0
    said_at: float | None = None  # the last token was sent; only the end follows
    finished_at: float | None = None
    left_at: float | None = None  # the client closed the connection before the reply was over

    @property
    def is_open(self) -> bool:
        return self.finished_at is None and self.left_at is None


HELD = Reply(fault="stall", fault_after=3)  # three tokens, then silence
HELD_TEXT = "word0 word1 word2 "
FLOWING = Reply(tokens=100_000, pace=0.01)  # talks until it is stopped
