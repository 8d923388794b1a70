"""Bytes as models send them, for answers that no specification has: lines of Ollama, frames of Bedrock."""

import json
from typing import Any

from tests.world.fakes.bedrock import event

DONE = {"done": True, "done_reason": "stop", "prompt_eval_count": 11, "eval_count": 3}
CALL = {"function": {"name": "calculate", "arguments": {"expression": "6 * 7"}}}
SUM = '{"expression": "6 * 7"}'


def line(message: Any, **more: Any) -> bytes:
    """One line of Ollama's answer."""
    return json.dumps({"model": "m", "message": message, "done": False, **more}).encode() + b"\n"


def says(text: str) -> bytes:
    return line({"role": "assistant", "content": text})


def calls(*calls: Any) -> list[bytes]:
    return [
        line({"role": "assistant", "content": "", "tool_calls": list(calls)}),
        line({"content": ""}, **DONE),
    ]


def calls_with(arguments: Any) -> list[bytes]:
    return calls({"function": {"name": "calculate", "arguments": arguments}})


START = event("messageStart", {"role": "assistant"})
STOP = event("contentBlockStop", {"contentBlockIndex": 0})
COUNTS = event(
    "metadata",
    {"usage": {"inputTokens": 11, "outputTokens": 3, "totalTokens": 14}, "metrics": {"latencyMs": 1}},
)


def text(said: str) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": said}})


def begin(name: str = "calculate", used: str = "t1") -> bytes:
    return event(
        "contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": used, "name": name}}}
    )


def given(**delta: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": delta}})


def thought(**part: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": part}})


def ends(reason: str = "end_turn") -> bytes:
    return event("messageStop", {"stopReason": reason})


def tool(*parts: bytes, reason: str = "tool_use") -> list[bytes]:
    """A message with one call of these parts."""
    return [START, *parts, ends(reason), COUNTS]
