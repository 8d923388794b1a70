"""The model stub: speaks as Ollama, OpenAI and Bedrock far cheaper than what is measured, and remembers what
it sent to whom.

Owns one process of its own (`python -m bench.stub --port N`); knows nothing of the systems under test. A
reply follows the last `[stub tokens=.. rate=.. delay_ms=.. stall_after=.. stamped=1 tag=..]` in the
request's text, else the defaults set by `POST /stub/config`. Times are the machine's monotonic clock in
seconds, comparable between processes.
"""

import argparse
import asyncio
import json
import re
import time
from dataclasses import asdict, dataclass, field, replace
from typing import cast

import uvloop

from bench import wire

_SPEC = re.compile(rb"\[stub ([\w=. -]*)\]")
_SHOW = {"capabilities": ["completion", "tools"], "details": {"family": "stub"}, "model_info": {}}
_TAGS = {
    "models": [{"name": "stub", "model": "stub", "size": 1, "digest": "0", "details": {"family": "stub"}}]
}


@dataclass(frozen=True)
class Plan:
    """How one reply goes: `rate` tokens/s (0 = as fast as the socket takes), silent for ever after
    `stall_after`. `stamped`: each token tells when it was sent.
    """

    tokens: int = 200
    rate: float = 0.0
    delay_ms: float = 0.0
    stall_after: int = -1
    stamped: int = 0
    tag: str = ""

    def changed(self, words: dict[str, str]) -> "Plan":
        """The plan with what `words` names; a wrong name or number raises."""
        return replace(self, **{name: type(getattr(self, name))(value) for name, value in words.items()})


@dataclass
class Ledger:
    """What the stub has seen: `tokens_sent` of ended replies; `calls` by tag, None while the call is open."""

    streams_started: int = 0
    streams_open: int = 0
    tokens_sent: int = 0
    disconnects: int = 0
    calls: dict[str, dict[str, float] | None] = field(default_factory=dict)


class Stream:
    """One reply on one connection, from the plan to its last byte or the disconnect."""

    def __init__(
        self, transport: asyncio.WriteTransport, said: wire.Wire, plan: Plan, ledger: Ledger
    ) -> None:
        self._transport, self._wire, self._plan, self._ledger = transport, said, plan, ledger
        self._loop = asyncio.get_running_loop()
        self._sent = 0
        self._limit = plan.tokens if plan.stall_after < 0 else min(plan.tokens, plan.stall_after)
        self._paused = False
        self._over = False
        self._next = self._loop.call_later(plan.delay_ms / 1000, self._begin)
        ledger.streams_started += 1
        ledger.streams_open += 1
        if plan.tag:
            ledger.calls[plan.tag] = None

    def _begin(self) -> None:
        self._transport.write(self._wire.opening)
        self._began = time.monotonic()
        step = self._tick if self._plan.rate else self._pump
        step()

    def _tick(self) -> None:
        """One token, one network write; then sleep until the next one is due."""
        if self._sent >= self._limit:
            return self._rest()
        now = time.monotonic()
        stamped = self._plan.stamped
        token = self._wire.stamped(int(now * 1e6)) if stamped else self._wire.tokens[self._sent % wire.BLOCK]
        self._transport.write(token)
        self._sent += 1
        due = self._began + self._sent / self._plan.rate
        self._next = self._loop.call_later(max(0.0, due - now), self._tick)
        return None

    def _pump(self) -> None:
        """A block of tokens in one write, as long as the socket takes them."""
        if self._over or self._paused:
            return None
        count = min(wire.BLOCK, self._limit - self._sent)
        if count <= 0:
            return self._rest()
        whole = count == wire.BLOCK
        self._transport.write(self._wire.block if whole else b"".join(self._wire.tokens[:count]))
        self._sent += count
        self._loop.call_soon(self._pump)
        return None

    def _rest(self) -> None:
        if self._sent >= self._plan.tokens:
            self._transport.write(self._wire.closing(self._sent))
            self.end(whole=True)

    def pause(self, paused: bool) -> None:
        """The socket is full, or takes again."""
        self._paused = paused
        if not paused and not self._plan.rate:
            self._pump()

    def end(self, *, whole: bool) -> None:
        """Books the end once: `whole` after the last token, else the reader has left."""
        if self._over:
            return
        self._over = True
        self._next.cancel()
        ledger = self._ledger
        ledger.streams_open -= 1
        ledger.tokens_sent += self._sent
        ledger.disconnects += not whole
        if self._plan.tag:
            ledger.calls[self._plan.tag] = {"at": time.monotonic(), "tokens": self._sent, "whole": whole}


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, one request at a time: just what the clients of model servers send."""

    def __init__(self, stub: "Stub") -> None:
        self._stub = stub
        self._buffer = b""
        self._stream: Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if separator and len(body) >= size:
            self._buffer = body[size:]
            self._answer(head.split(b" ", 2)[1].decode(), body[:size])
            if b"\r\nconnection: close" in head.lower() and not self._stream:
                self._transport.close()

    def _answer(self, path: str, body: bytes) -> None:
        spoken = self._stub.wire_of(path)
        if spoken is not None:
            self._stream = Stream(self._transport, spoken, self._stub.plan_of(body), self._stub.ledger)
            return
        shown = json.dumps(self._stub.control(path, body)).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(shown)
        self._transport.write(head + shown)

    def pause_writing(self) -> None:
        if self._stream:
            self._stream.pause(True)

    def resume_writing(self) -> None:
        if self._stream:
            self._stream.pause(False)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._stream:
            self._stream.end(whole=False)


class Stub:
    """The default plan and the ledger, shared by all connections."""

    def __init__(self) -> None:
        self.plan = Plan()
        self.ledger = Ledger()

    def wire_of(self, path: str) -> wire.Wire | None:
        """Which wire a path speaks; None for everything that is not a reply."""
        if path == "/api/chat":
            return wire.OLLAMA
        if path == "/v1/chat/completions":
            return wire.OPENAI
        return wire.BEDROCK if path.endswith("/converse-stream") else None

    def plan_of(self, body: bytes) -> Plan:
        """The plan of the last message that names one; older ones come along as history."""
        found = _SPEC.findall(body)
        return (
            self.plan.changed(dict(pair.split("=", 1) for pair in found[-1].decode().split()))
            if found
            else self.plan
        )

    def control(self, path: str, body: bytes) -> object:
        """Everything but replies: Ollama's small questions and the stub's own two."""
        if path == "/stub/config":
            self.plan = self.plan.changed(json.loads(body or b"{}"))
            return asdict(self.plan)
        if path == "/stub/stats":
            return asdict(self.ledger)
        return _SHOW if path == "/api/show" else _TAGS


async def serve(port: int) -> None:
    """Serves on loopback until the process is told to end."""
    stub = Stub()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(stub), "127.0.0.1", port, backlog=2048
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
