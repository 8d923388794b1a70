"""What a file is, told by its bytes: four kinds of pictures with their size, and text. Pure.

Only headers and the order of the blocks are read, no pixel is decoded: a picture that is torn, or
larger than any model takes, is refused before anybody tries. Formats: PNG (ISO 15948), JPEG (T.81),
GIF89a, WebP (RFC 9649).
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from app.errors import InvalidFile, TooLarge

MOST_TEXT = 100 * 1024
MOST_SIDE = 8000  # pixels; Bedrock takes no more
MOST_PIXELS = 40_000_000

Size = tuple[int, int]

_TEXT_KINDS = ("text/markdown", "text/csv")
_NEVER_TEXT = re.compile(r"(image|audio|video|font|model|multipart)/|application/(pdf|zip|gzip|x-tar|vnd\.)")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_SVG = re.compile(  # atomic groups: what has been passed over is not gone through again
    rb"(?:\xef\xbb\xbf)?\s*+(?>(?:<\?.*?\?>|<!--.*?-->|<!doctype[^>\[]*(?:\[[^\]]*\]\s*)?>)\s*)*+"
    rb"<(?:[a-z]+:)?svg\b",
    re.IGNORECASE | re.DOTALL,
)
_FOREIGN = "This is neither a picture (png, jpeg, gif, webp) nor text in UTF-8."
_TORN = "This picture is torn or not what it seems: it cannot be read to its end."


@dataclass(frozen=True, slots=True)
class Kind:
    """A media type that is safe to send, and the size of a picture in pixels."""

    media_type: str
    width: int = 0
    height: int = 0


class _Torn(Exception):
    """The blocks do not follow each other to the end."""


def kind_of(body: bytes, declared: str, most_picture: int) -> Kind:
    """The kind of these bytes; `declared` is what their sender calls them.

    Raises `InvalidFile`, `TooLarge`.
    """
    if not body:
        raise InvalidFile("The file is empty.")
    for begins, media_type, size_of in _PICTURES:
        if begins.match(body):
            if len(body) > most_picture:
                raise TooLarge(f"A picture may have up to {most_picture // 1024} KB.")
            return Kind(media_type, *_checked(size_of, body))
    return Kind(_text_kind(body, declared.partition(";")[0].strip().lower()))


def _checked(size_of: Callable[[bytes], Size], body: bytes) -> Size:
    try:
        width, height = size_of(body)
    except (_Torn, struct.error, IndexError):
        raise InvalidFile(_TORN) from None
    if not (width and height):
        raise InvalidFile(_TORN)
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise InvalidFile(f"A picture may have up to {MOST_SIDE} pixels a side, and 40 million in all.")
    return width, height


def _text_kind(body: bytes, declared: str) -> str:
    if declared.startswith("image/svg") or _SVG.match(body[:8192]):
        raise InvalidFile("SVG is not taken. Send the picture as png, jpeg, gif or webp.")
    if declared.startswith("multipart/"):
        raise InvalidFile("Send the file itself as the body, not a form.")
    if _NEVER_TEXT.match(declared) or body.startswith(b"%PDF-") or _CONTROL.search(body):
        raise InvalidFile(_FOREIGN)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidFile(_FOREIGN) from None
    if not text.strip("\ufeff \t\r\n\f"):
        raise InvalidFile("The file is empty.")
    if len(body) > MOST_TEXT:
        raise TooLarge(f"A text may have up to {MOST_TEXT // 1024} KB.")
    return declared if declared in _TEXT_KINDS else "text/plain"


def _png(body: bytes) -> Size:
    width, height = struct.unpack_from(">II", body, 16)
    at, name, filled = 8, b"", False
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", body, at)
        if (at == 8) != (name == b"IHDR" and length == 13):
            raise _Torn
        at, filled = at + 12 + length, filled or name == b"IDAT"
    if at > len(body) or not filled:
        raise _Torn
    return width, height


def _jpeg(body: bytes) -> Size:
    at, size = 2, None
    while True:
        while body[at] == 0xFF and body[at + 1] == 0xFF:
            at += 1
        mark, code = body[at], body[at + 1]
        if mark != 0xFF or code in (0x00, 0xD8, 0xD9):
            raise _Torn
        (length,) = struct.unpack_from(">H", body, at + 2)
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", body, at + 5)
            size = max(size or (0, 0), (width, height))
        at += 2 + length
        if code == 0xDA:  # from here on an end is an end: inside the picture FF is always followed by 0
            if size is None or body.find(b"\xff\xd9", at) < 0:
                raise _Torn
            return size


def _gif(body: bytes) -> Size:
    width, height, flags = struct.unpack_from("<HHB", body, 6)
    at, frames = 13 + _palette(flags), 0
    while body[at] != 0x3B:
        if body[at] == 0x21:
            at = _past_pieces(body, at + 2)
        elif body[at] == 0x2C:
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", body, at + 1)
            width, height, frames = max(width, left + wide), max(height, top + high), frames + 1
            at = _past_pieces(body, at + 11 + _palette(flags))
        else:
            raise _Torn
    if not frames:
        raise _Torn
    return width, height


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _past_pieces(body: bytes, at: int) -> int:
    while body[at]:
        at += 1 + body[at]
    return at + 1


def _webp(body: bytes) -> Size:
    (length,) = struct.unpack_from("<I", body, 4)
    end, at = 8 + length, 12
    if end > len(body):
        raise _Torn
    sizes: list[Size] = []
    pictures = 0
    while at < end:
        name, length = struct.unpack_from("<4sI", body, at)
        pictures += name in (b"VP8 ", b"VP8L", b"ANMF")
        if size := _webp_size(name, body, at + 8):
            sizes.append(size)
        at += 8 + length + length % 2
        if at > end + 1:
            raise _Torn
    if not (pictures and sizes):
        raise _Torn
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _webp_size(name: bytes, body: bytes, at: int) -> Size | None:
    """The size that this piece tells, if it tells one."""
    if name == b"VP8X":
        wide, high = body[at + 4 : at + 7], body[at + 7 : at + 10]
        return 1 + int.from_bytes(wide, "little"), 1 + int.from_bytes(high, "little")
    if name == b"VP8L":
        mark, bits = struct.unpack_from("<BI", body, at)
        if mark != 0x2F:
            raise _Torn
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if name == b"VP8 ":
        mark, width, height = struct.unpack_from("<3sHH", body, at + 3)
        if mark != b"\x9d\x01\x2a":
            raise _Torn
        return width & 0x3FFF, height & 0x3FFF
    return None


_PICTURES = [
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png", _png),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg", _jpeg),
    (re.compile(rb"GIF8[79]a"), "image/gif", _gif),
    (re.compile(rb"RIFF(?s:.{4})WEBP"), "image/webp", _webp),
]
