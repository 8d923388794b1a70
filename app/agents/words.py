"""A provider's own words for the operator's log: one line, cut, without secrets or what was asked."""

import re
from collections.abc import Iterator
from typing import Any

MOST_CHARS = 500
MOST_READ = 2000  # of what a provider wrote
WINDOW = 16  # so many characters in a row that stand in the request too are taken for a part of it
SHORTEST = 4  # a message shorter than this tells nothing, and would tear up every line

_SECRETS = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"
    r"|(?i:\bbearer\s+)\S+"
    r"|\b(?:sk|gsk|hf|xai|ghp|key)[-_][A-Za-z0-9_-]{8,}"
    r"|(?<=://)[^/\s@]+@"
    r"|(?=[A-Za-z0-9+/=_-]*[A-Z])(?=[A-Za-z0-9+/=_-]*[a-z])(?=[A-Za-z0-9+/=_-]*\d)[A-Za-z0-9+/=_-]{36,}"
)


def masked(words: str, request: Any) -> str:
    """These words as one line of the log. `request`: whatever was asked, of which nothing is repeated."""
    line = " ".join("".join(c if c.isprintable() else " " for c in words[:MOST_READ]).split())
    line = _SECRETS.sub("***", line)
    asked = [" ".join(text.split()) for text in _texts(request)]
    for text in asked:
        if len(text) >= SHORTEST:
            line = line.replace(text, "***")
    return _without_parts(line, "\n".join(asked))[:MOST_CHARS]


def _without_parts(line: str, asked: str) -> str:
    """The line without the longer stretches that stand in the request as well."""
    hidden = [False] * len(line)
    for at in range(len(line) - WINDOW + 1):
        if line[at : at + WINDOW] in asked:
            hidden[at : at + WINDOW] = [True] * WINDOW
    kept = "".join("\0" if hide else c for c, hide in zip(line, hidden, strict=True))
    return re.sub("\0+", "***", kept)


def _texts(part: Any) -> Iterator[str]:
    match part:
        case str():
            yield part
        case dict():
            for value in part.values():
                yield from _texts(value)
        case list() | tuple():
            for value in part:
                yield from _texts(value)
