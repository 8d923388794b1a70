"""Messages of an AWS event stream, from the pieces in which the network brings them, both checksums
verified.

botocore's own parser builds several objects per message and walks the service model for each: 16 µs a token,
as much as all the rest of a reply together.
https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from zlib import crc32

MOST_BYTES = 16 * 1024 * 1024
_STRING = 7


class BadFrame(Exception):
    """What came is not an event stream."""


class Frames:
    """Cuts bytes into messages; keeps an unfinished one for the next piece."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
        """Headers and payload of every message that is whole now.

        Raises `BadFrame` behind those before it.
        """
        data, at = self._rest + piece, 0
        while len(data) - at >= 16:
            total, headers, prelude = struct.unpack_from("!III", data, at)
            if crc32(data[at : at + 8]) != prelude or not 16 + headers <= total <= MOST_BYTES:
                raise BadFrame
            if len(data) - at < total:
                break
            end = at + total - 4
            if crc32(data[at:end]) != int.from_bytes(data[end : end + 4], "big"):
                raise BadFrame
            yield _headers(data[at + 12 : at + 12 + headers]), data[at + 12 + headers : end]
            at += total
        self._rest = data[at:]


@lru_cache(maxsize=64)
def _headers(data: bytes) -> dict[str, str]:
    """The headers; a model's stream has strings only, and few different ones."""
    found, at = {}, 0
    while at < len(data):
        name = at + 1 + data[at]
        if data[name] != _STRING:
            raise BadFrame
        value = name + 3 + int.from_bytes(data[name + 1 : name + 3], "big")
        found[data[at + 1 : name].decode()] = data[name + 3 : value].decode()
        at = value
    return found
