"""The address a request means: without the path in front of everything (BASE_PATH), no slash behind.

A proxy in front may take BASE_PATH off or leave it: both arrive here, and both are answered.
"""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

OLDER = "/chat"  # the older API; a page below BASE_PATH=/chat has its address too

Scope = MutableMapping[str, Any]


def as_meant(scope: Scope, base: str) -> Scope:
    """The scope of a request with the path that the routes know; `base` is empty, or as in /chat."""
    path = _below(scope["path"], scope["method"], base)
    if len(path) > 1 and path.endswith("/"):  # the same address, without a redirect
        path = path[:-1]
    return scope if path == scope["path"] else {**scope, "path": path, "raw_path": quote(path).encode()}


def _below(path: str, method: str, base: str) -> str:
    if not base or not f"{path}/".startswith(f"{base}/"):
        return path
    if method == "POST" and path.removesuffix("/") == base == OLDER:
        return path
    return path[len(base) :] or "/"
