"""Pictures in four formats, made from their standards: small, whole, and of any size that is asked for."""

import random
import struct
import zlib
from collections.abc import Callable


def png(width: int = 4, height: int = 3, *, weight: int = 0) -> bytes:
    """A grey picture, filled up to about `weight` bytes with a chunk that readers pass over."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"\0" * ((width + 1) * height) if width * height < 10**6 else b"\0"
    filler = [_chunk(b"fiLl", random.Random(weight).randbytes(weight))] if weight else []
    pieces = [_chunk(b"IHDR", head), *filler, _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg(width: int = 4, height: int = 3) -> bytes:
    """The frame of a picture: its segments, and a scan in which an FF is followed by a 0."""
    thumbnail = _segment(0xE1, b"Exif\0\0" + b"\xff\xd8\xff\xd9")
    frame = _segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\0")
    scan = _segment(0xDA, b"\x01\x01\0\0\x3f\0") + b"\x12\xff\x00\x34"
    return (
        b"\xff\xd8"
        + _segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")
        + thumbnail
        + frame
        + scan
        + b"\xff\xd9"
    )


def _segment(code: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(data) + 2) + data


def gif(width: int = 4, height: int = 3) -> bytes:
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    note = b"\x21\xfe\x05hello\0"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + screen + note + frame + b"\x3b"


def webp(width: int = 4, height: int = 3, kind: str = "VP8L") -> bytes:
    """Lossless, lossy (`VP8 `), or with a canvas of its own (`VP8X`)."""
    lossless = _riff(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\0" * 3)
    lossy = _riff(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"\0" * 5)
    canvas = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = {"VP8L": lossless, "VP8 ": lossy, "VP8X": _riff(b"VP8X", canvas) + lossless}[kind]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _riff(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


MAKERS: dict[str, Callable[[int, int], bytes]] = {
    "image/png": png,
    "image/jpeg": jpeg,
    "image/gif": gif,
    "image/webp": webp,
}
