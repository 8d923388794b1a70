"""What Redis answers about a chat, made into words and messages; what cannot be read harms only itself."""

import contextlib
from collections.abc import Sequence

from loguru import logger

from app.store.records import Message
from app.store.wire.node import pairs

MOST_WARMTH = 2.0


def texts(fields: list[bytes]) -> dict[str, str]:
    """The fields of a hash as Redis lists them."""
    return {as_text(key): as_text(value) for key, value in pairs(fields)}


def as_text(value: bytes) -> str:
    """As UTF-8, whatever is in it."""
    return value.decode("utf-8", "replace")


def temperature_of(value: str | None) -> float | None:
    """The temperature of a chat; None where none is set, or what stands there is none."""
    with contextlib.suppress(ValueError):
        if value and 0 <= float(value) <= MOST_WARMTH:
            return float(value)
    return None


def readable(lines: Sequence[bytes]) -> list[Message]:
    """The messages among these lines that can be read; the others harm only themselves."""
    found, unread = [], 0
    for line in lines:
        try:
            found.append(Message.read(line))
        except (ValueError, TypeError):
            unread += 1
    if unread:
        logger.warning("messages=<{}> | not understood here, passed over", unread)
    return found
