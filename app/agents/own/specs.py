"""What a process tells of the tools in its file, looked at before it is taken: it has run a user's code,
which may have written anything on its line.
"""

import json
import re
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # as models take them, and a line of the log


def checked_specs(told: Any) -> list[dict[str, Any]]:
    """These descriptions, with nothing else in them. Raises `ValueError` with one line."""
    if not isinstance(told, list):
        raise ValueError(_NONE)
    return [_checked_spec(spec) for spec in told]


_NONE = "it does not say what tools it has"


def _checked_spec(spec: Any) -> dict[str, Any]:
    match spec:
        case {"name": str(name), "description": str(said), "inputSchema": {"json": dict(schema)}}:
            pass
        case _:
            raise ValueError(_NONE)
    if not _NAME.fullmatch(name):
        raise ValueError("the name of a tool may have 64 letters, digits, - and _")
    found = {"name": name, "description": said, "inputSchema": {"json": schema}}
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: its description holds half a character") from None
    return found
