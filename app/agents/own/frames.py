"""Messages between the backend and the process of a tool: JSON with its length before it, and a bound."""

import asyncio
import json
import socket
from typing import Any

HEAD = 4
MOST_FRAME = 2 * 1024 * 1024  # bytes: a file and its description, a call, its result


class BadFrame(Exception):
    """What came is no message, or too long."""


def packed(message: dict[str, Any]) -> bytes:
    """The message with its length before it."""
    body = json.dumps(message).encode()
    if len(body) > MOST_FRAME:
        raise BadFrame
    return len(body).to_bytes(HEAD) + body


async def next_frame(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next message. Raises `BadFrame`, and `IncompleteReadError` when there is none any more."""
    size = int.from_bytes(await reader.readexactly(HEAD))
    if size > MOST_FRAME:
        raise BadFrame
    return _object(await reader.readexactly(size))


def receive(line: socket.socket) -> dict[str, Any] | None:
    """The same where one may wait; None when there is none any more."""
    head = _exactly(line, HEAD)
    body = _exactly(line, int.from_bytes(head)) if head else b""
    return _object(body) if body else None


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(size - len(data))
        if not part:
            return b""
        data += part
    return data


def _no_number(_: str) -> None:
    """NaN and infinities, as in the default of an argument: no JSON of others has them."""


def _object(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadFrame from None
    if not isinstance(message, dict):
        raise BadFrame
    return message
