"""The names of chats: the first words of a message without its marks, and names that a model gives."""

import re

from app.store.keys import Chat
from app.store.wire.script import Command, Script

MOST_CHARS = 60

_LINKS = re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*(?:\s[^)]*)?\)")
_LINE_MARKS = re.compile(
    r"^[ \t]*(?:(?:#{1,6}|>|[-*+]|\d{1,3}[.)])[ \t]+|(?:```|~~~)[\w+-]*[ \t]*$|[-=*_ \t]{3,}$)", re.M
)
_MARKS = re.compile(
    r"`+|(?<![\w*)\]])\*{1,3}(?=\S)|(?<=[^\s*])\*{1,3}(?![\w(*])|~~|(?<!\w)_{1,3}(?=\w)|(?<=\w)_{1,3}(?!\w)"
)  # an asterisk between two operands is a sum's
_QUOTES = " \"'`*_#“”„«».:-"

# names a chat as a model would, unless somebody has named it since
NAME = Script(
    """
if redis.call('HGET', chat, 'title') ~= before or redis.call('HEXISTS', chat, 'named') == 1 then return 0 end
redis.call('HSET', chat, 'title', title)
return 1
""",
    keys="chat",
    args="before title",
)


def title_of(message: str) -> str:
    """The first words of a message without Markdown marks, up to 60 characters."""
    start = message[:400]
    plain = _MARKS.sub("", _LINE_MARKS.sub("", _LINE_MARKS.sub("", _LINKS.sub(r"\1", start))))
    return _cut(" ".join(plain.split()) or " ".join(start.split()))


def named(chat: Chat, message: str, words: str) -> Command | None:
    """Describes how the chat that began with this message gets the name in a model's words; None for none."""
    lines = [line.strip(_QUOTES) for line in words.splitlines()]
    title = _cut(" ".join(title_of(next((line for line in lines if line), "")).split()))
    return NAME(chat=chat.key, before=title_of(message), title=title) if title else None


def _cut(words: str) -> str:
    if len(words) <= MOST_CHARS:
        return words
    return words[:MOST_CHARS].rsplit(" ", 1)[0] + "…"
