"""Bedrock on the wire: `POST /model/{id}/converse-stream`, answered in frames of
`application/vnd.amazon.eventstream`.

Frame: total length, length of the headers, CRC of these two, headers, payload, CRC of everything before
(https://smithy.io/2.0/aws/amazon-eventstream.html). Events as in the API reference of ConverseStream.
"""

import json
import re
import struct
from binascii import crc32
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.world.fakes.model import FakeModel, run
from tests.world.fakes.reply import Body, Failure, Reply, ToolCall

STRING = 7  # the only header type Bedrock uses

THROTTLED = Failure(429, "ThrottlingException", "Too many requests, please wait before trying again.")
DENIED = Failure(
    403, "AccessDeniedException", "You don't have access to the model with the specified model ID."
)
OVERFLOW = Failure(400, "ValidationException", "Input is too long for requested model.")
UNKNOWN_MODEL = Failure(
    404, "ResourceNotFoundException", "Could not resolve the foundation model from the model identifier."
)
EXPIRED = Failure(403, "ExpiredTokenException", "The security token included in the request is expired")
THROTTLED_IN_STREAM = Failure(429, "throttlingException", "Too many tokens, please wait before trying again.")
BROKEN_IN_STREAM = Failure(
    424, "modelStreamErrorException", "provider-secret-detail: the model processing failed"
)


class FakeBedrock(FakeModel):
    """A fake Bedrock Runtime."""

    content_type = "application/vnd.amazon.eventstream"

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/model/{model}/converse-stream", self.chat)]

    def asked(self, body: Body) -> str:
        for message in reversed(body["messages"]):
            texts = [str(block["text"]) for block in message["content"] if "text" in block]
            if message["role"] == "user" and texts:
                return "".join(texts)
        return ""

    def tool_answered(self, body: Body) -> bool:
        return any("toolResult" in block for block in body["messages"][-1]["content"])

    def complaint(self, body: Body) -> str:
        return complaint(body["messages"])

    def refusal(self, failure: Failure) -> web.Response:
        return web.json_response(
            {"message": failure.message},
            status=failure.status,
            headers={"x-amzn-errortype": f"{failure.code}:http://internal.amazon.com/"},
        )

    def opening(self) -> Iterator[bytes]:
        yield event("messageStart", {"role": "assistant"})

    def thought(self, text: str) -> bytes:
        return self._delta({"reasoningContent": {"text": text}})

    def token(self, text: str) -> bytes:
        return self._delta({"text": text})

    def tool_call(self, tool: ToolCall) -> Iterator[bytes]:
        start = {"toolUse": {"toolUseId": tool.tool_use_id, "name": tool.name}}
        yield event("contentBlockStart", {"contentBlockIndex": 0, "start": start})
        text = json.dumps(tool.input)
        for part in (text[: len(text) // 2], text[len(text) // 2 :]):
            yield self._delta({"toolUse": {"input": part}})

    def closing(self, reply: Reply, used_tool: bool) -> Iterator[bytes]:
        yield event("contentBlockStop", {"contentBlockIndex": 0})
        yield event(
            "messageStop", {"stopReason": "tool_use" if used_tool else reply.stop_reason or "end_turn"}
        )
        sent = 1 if used_tool else len(reply.pieces)
        usage = {"inputTokens": 11, "outputTokens": sent, "totalTokens": 11 + sent}
        yield event("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})

    def malformed(self) -> bytes:
        good = bytearray(self.token("this frame has a wrong checksum"))
        good[-1] ^= 0xFF
        return bytes(good)

    def failed(self, failure: Failure) -> bytes:
        return frame(
            {
                ":exception-type": failure.code,
                ":content-type": "application/json",
                ":message-type": "exception",
            },
            {"message": failure.message},
        )

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return event("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta})


def complaint(messages: list[dict[str, Any]]) -> str:
    """What ConverseStream says to messages that break its rules; empty when they keep them."""
    called: set[str] = set()
    for number, message in enumerate(messages):
        content = message["content"]
        if message["role"] != ("user", "assistant")[number % 2]:
            return "A conversation must start with a user message and alternate between user and assistant."
        if not content or any("text" in block and not block["text"].strip() for block in content):
            return f"The content field in the Message object at messages.{number} is empty or blank."
        answered = {block["toolResult"]["toolUseId"] for block in content if "toolResult" in block}
        if answered != called:
            return f"Expected toolResult blocks at messages.{number}.content for the toolUse blocks before."
        uses = [block["toolUse"] for block in content if "toolUse" in block]
        called = {use["toolUseId"] for use in uses}
        if len(called) < len(uses) or any(not _usable(use) for use in uses):
            return f"The format of the toolUse blocks at messages.{number}.content is invalid."
    return ""


def _usable(use: dict[str, Any]) -> bool:
    named = all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", use[key]) for key in ("name", "toolUseId"))
    return named and isinstance(use["input"], dict)


def event(kind: str, payload: Any) -> bytes:
    return frame(
        {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload
    )


def frame(headers: dict[str, str], payload: Any) -> bytes:
    """One message of the event stream, with both checksums."""
    head = b"".join(_header(name, value) for name, value in headers.items())
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", len(head) + len(body) + 16, len(head))
    start = prelude + struct.pack("!I", crc32(prelude)) + head + body
    return start + struct.pack("!I", crc32(start))


def _header(name: str, value: str) -> bytes:
    raw_name, raw_value = name.encode(), value.encode()
    return (
        struct.pack("!B", len(raw_name)) + raw_name + struct.pack("!BH", STRING, len(raw_value)) + raw_value
    )


if __name__ == "__main__":
    run(FakeBedrock)
