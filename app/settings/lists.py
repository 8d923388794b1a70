"""Settings that hold several things, separated by commas."""

import re

_OWNER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY = re.compile(r"[!-~]{4,}")


def words(text: str) -> list[str]:
    """What stands between the commas, without spaces around it."""
    return [part.strip() for part in text.split(",") if part.strip()]


def hosts(text: str) -> list[str]:
    """Host names in lower case, IPv6 addresses in brackets, as browsers send both."""
    return [f"[{name}]" if name.count(":") > 1 and "[" not in name else name for name in words(text.lower())]


def keys(text: str) -> dict[str, str]:
    """API keys by owner name. Raises `ValueError` with one line that shows none of them."""
    found: dict[str, str] = {}
    for pair in words(text):
        name, colon, key = pair.partition(":")
        if not (colon and key and _OWNER_NAME.fullmatch(name)) or name in found or key in found.values():
            raise ValueError("API_KEYS must be name:key pairs separated by commas, each name and key once")
        if not _KEY.fullmatch(key):
            raise ValueError("API_KEYS: a key has 4 characters or more, of ASCII and without spaces")
        found[name] = key
    if text.strip() and not found:  # it was meant to shut the door
        raise ValueError("API_KEYS holds no key. Leave it empty to let everybody in")
    return found
