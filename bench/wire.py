"""What the stub says on the wire, encoded once: Ollama's NDJSON, OpenAI's and Bedrock's event streams.

Owns the bytes; knows nothing of connections or pace. Every token is one HTTP chunk, as Ollama sends it, and
holds exactly one MARK, so that a reader counts tokens by counting bytes; a stamped one also tells when it
was sent, in STAMP digits behind the mark. Frame layout of the event stream: AWS's
`application/vnd.amazon.eventstream` (lengths, CRC of both, headers, payload, CRC of all).
"""

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

MARK = b"~"
STAMP = 13  # digits: microseconds of the machine's monotonic clock
BLOCK = 64
WORDS = tuple(f" {stem}{number}~" for number in range(16) for stem in ("token", "word", "text", "line"))

_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Wire:
    """One provider's way to say a reply: `opening`, then tokens by number, then `closing(tokens)`."""

    opening: bytes
    tokens: tuple[bytes, ...]
    block: bytes
    closing: Callable[[int], bytes]
    stamped: Callable[[int], bytes]


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _line(message: dict[str, str], **rest: object) -> bytes:
    shown = {"model": "stub", "created_at": "2025-01-01T00:00:00.000000Z", "message": message, **rest}
    return chunk(json.dumps(shown, separators=(",", ":")).encode() + b"\n")


def _ollama_closing(tokens: int) -> bytes:
    facts = {
        "total_duration": 1000000,
        "load_duration": 1000,
        "prompt_eval_duration": 1000,
        "eval_duration": 998000,
    }
    said = {"role": "assistant", "content": ""}
    return (
        _line(said, done=True, done_reason="stop", prompt_eval_count=10, eval_count=tokens, **facts)
        + _LAST_CHUNK
    )


def _openai_chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    shown = {
        "id": "chatcmpl-stub",
        "object": "chat.completion.chunk",
        "created": 1735689600,
        "model": "stub",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
    }
    return _data(shown)


def _data(shown: dict[str, object]) -> bytes:
    return chunk(b"data: " + json.dumps(shown, separators=(",", ":")).encode() + b"\n\n")


def _openai_closing(tokens: int) -> bytes:
    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
    counted = _data({"id": "chatcmpl-stub", "object": "chat.completion.chunk", "choices": [], "usage": usage})
    return _openai_chunk({}, "stop") + counted + chunk(b"data: [DONE]\n\n") + _LAST_CHUNK


def _openai_token(word: str) -> bytes:
    return _openai_chunk({"content": word})


def _frame(kind: str, payload: dict[str, object]) -> bytes:
    pairs = ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event"))
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in pairs
    )
    body = json.dumps(payload, separators=(",", ":")).encode()
    prelude = struct.pack("!II", len(headers) + len(body) + 16, len(headers))
    frame = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + body
    return chunk(frame + struct.pack("!I", zlib.crc32(frame)))


def _bedrock_token(word: str) -> bytes:
    return _frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}, "p": "abcdefgh"})


def _bedrock_closing(tokens: int) -> bytes:
    usage = {"inputTokens": 10, "outputTokens": tokens, "totalTokens": 10 + tokens}
    return (
        _frame("contentBlockStop", {"contentBlockIndex": 0, "p": "abc"})
        + _frame("messageStop", {"stopReason": "end_turn", "p": "abc"})
        + _frame("metadata", {"metrics": {"latencyMs": 1}, "usage": usage, "p": "abc"})
        + _LAST_CHUNK
    )


def _ollama_stamped() -> Callable[[int], bytes]:
    before, behind = _line({"role": "assistant", "content": " word~" + "0" * STAMP}, done=False).split(
        b"0" * STAMP
    )
    return lambda at: b"%b%0*d%b" % (before, STAMP, at, behind)


def _wire(
    content_type: str,
    opening: bytes,
    tokens: tuple[bytes, ...],
    closing: Callable[[int], bytes],
    stamped: Callable[[int], bytes],
) -> Wire:
    return Wire(_HEAD.format(content_type).encode() + opening, tokens, b"".join(tokens), closing, stamped)


OLLAMA = _wire(
    "application/x-ndjson",
    b"",
    tuple(_line({"role": "assistant", "content": word}, done=False) for word in WORDS),
    _ollama_closing,
    _ollama_stamped(),
)
BEDROCK = _wire(
    "application/vnd.amazon.eventstream",
    _frame("messageStart", {"role": "assistant", "p": "abc"}),
    tuple(_bedrock_token(word) for word in WORDS),
    _bedrock_closing,
    lambda at: _bedrock_token(f" word~{at:0{STAMP}d}"),
)
OPENAI = _wire(
    "text/event-stream",
    _openai_chunk({"role": "assistant", "content": ""}),
    tuple(_openai_token(word) for word in WORDS),
    _openai_closing,
    lambda at: _openai_token(f" word~{at:0{STAMP}d}"),
)
