"""What the models reached by plain HTTP share: one session per process, and the lines of an answer.

An answer is read in the pieces in which the network brings them, large ones in parts: all whole
lines of a piece at once, which is what makes a token cheap. Knows no provider.
"""

import io
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp

from app.agents.failures import failure

CONNECT_SECONDS = 5
MOST_LINE = 4 * 1024 * 1024
PIECE = 16 * 1024  # bytes that are read in one go: a millisecond
IN_PIECES = 512 * 1024
MOST_ERROR = 4000  # bytes of a refusal that are read


def open_session(most: int) -> aiohttp.ClientSession:
    """The session for all calls; silence is bounded by the deadlines of the run, not here.

    It asks for answers as they are: a proxy that packs them would hold tokens back.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=most, keepalive_timeout=30),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        headers={"Accept-Encoding": "identity"},
        trust_env=False,
    )


def json_body(request: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a session takes to post this; one with pictures goes out in pieces."""
    text = json.dumps(request)
    body = text if len(text) < IN_PIECES else io.BytesIO(text.encode())
    return {"data": body, "headers": {**(headers or {}), "Content-Type": "application/json"}}


async def batches(content: aiohttp.StreamReader) -> AsyncIterator[list[bytes]]:
    """The whole lines of each piece that the network brings, blank ones left out.

    Raises `ModelFailure` when a line has no end.
    """
    rest: list[bytes] = []
    while piece := await content.read(PIECE):
        rest.append(piece)
        if b"\n" in piece:
            *lines, last = b"".join(rest).split(b"\n")
            rest = [last]
            if lines := [line for line in lines if line.strip()]:
                yield lines
        if sum(map(len, rest)) > MOST_LINE:
            raise failure("no_answer")
    if (end := b"".join(rest)).strip():
        yield [end]


async def first_bytes(content: aiohttp.StreamReader, most: int) -> bytes:
    """What there is to its end, or so much of it."""
    found = b""
    while len(found) < most and (piece := await content.readany()):
        found += piece
    return found[:most]


def loaded(lines: list[bytes]) -> Iterator[Any]:
    """The JSON of all lines at once, which is much cheaper; one by one where one is broken, so that
    those before it count.
    """
    try:
        yield from json.loads(b"[%b]" % b",".join(lines))
    except ValueError:
        yield from map(json.loads, lines)
