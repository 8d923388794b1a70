"""Reads `.env`, by one set of rules wherever the stack runs. Knows no setting, needs only Python
itself.

    # a comment          only at the start of a line, or after a space behind a value
    NAME=value           spaces around both do not count, `export` in front is allowed, so is any case
    NAME='a # $ b'       as it stands
    NAME="a \\" b"        likewise, but \\" \\\\ \\$ and \\n mean what they do in a shell
The last line of a name wins. `$` means itself; `${NAME}` is refused outside '…': nothing is filled in here.
"""

from __future__ import annotations  # a machine that only has Docker may have an old Python

import os
import re

# in the environment of what a stack has started: its settings are all there, and the file may have changed
SETTLED = "CHAT_STACK"
_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[^=\s]*)\s*=(?P<rest>.*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SINGLE = re.compile(r"'(?P<text>[^']*)'(?P<tail>.*)")
_DOUBLE = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"(?P<tail>.*)')
_ESCAPE = re.compile(r'\\(["\\$n])')
_FILLED = re.compile(r"(?<!\\)\$\{")


def read(path: str) -> dict[str, str]:
    """The names, in upper case, and values of the file; none when it is not there.

    Raises `ValueError` with one line that holds the number of the line, never its value.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): it must belong to you") from None
    values = {}
    for number, line in enumerate(_file_text(path, data).split("\n"), start=1):
        try:
            values.update(_entry(line))
        except ValueError as error:
            raise ValueError(f"{path} line {number}: {error}") from None
    return values


def _file_text(path: str, data: bytes) -> str:
    """The text, without the mark that some editors put in front, and with the line ends of Unix."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{path} line {number}: not UTF-8; save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _entry(line: str) -> dict[str, str]:
    if not line.strip() or line.lstrip().startswith("#"):
        return {}
    found = _LINE.fullmatch(line)
    if not found:
        raise ValueError("it must look like NAME=value")
    if not _NAME.fullmatch(found["name"]):
        raise ValueError("a name holds letters, digits and _ only, with nothing but = behind it")
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
        raise ValueError("it holds a character that cannot be seen")
    return {found["name"].upper(): _value(found["rest"])}


def _value(written: str) -> str:
    rest = written.strip()
    if rest[:1] not in ("'", '"'):
        return _plain_value(re.split(r"\s+#", written)[0].strip())
    found = (_SINGLE if rest[0] == "'" else _DOUBLE).fullmatch(rest)
    if not found:
        raise ValueError(f"the quote {rest[0]} is opened and not closed")
    if not re.fullmatch(r"(\s+#.*)?", found["tail"]):
        raise ValueError("something stands behind the closing quote")
    if rest[0] == "'":
        return str(found["text"])
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], _plain_value(found["text"]))


def _plain_value(value: str) -> str:
    if _FILLED.search(value):
        raise ValueError("${…} is not filled in here: write the value itself, or '…' around what is meant so")
    return value


def variables() -> dict[str, str]:
    """What may be filled into other files."""
    return dict(os.environ)


def fill(path: str) -> None:
    """Puts the values of the file into the environment where that has none. Raises `ValueError`."""
    if SETTLED in os.environ:
        return
    for name, value in read(path).items():
        if not os.environ.get(name):
            os.environ[name] = value
