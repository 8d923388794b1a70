"""Asking a backend, or the whole stack through the public port, how it is."""

import json
import urllib.error
import urllib.request
from functools import cache
from typing import Any

from app.settings import load

# A proxy set for the outside world has no business on this machine.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def health(port: int) -> dict[str, Any]:
    """The body of /health, also when it is 503; empty when nobody answers."""
    try:
        with _open(
            urllib.request.Request(f"http://127.0.0.1:{port}/health", headers=_host()), timeout=3
        ) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return _body(error)
    except (OSError, ValueError):
        return {}


@cache
def _host() -> dict[str, str]:
    """With ALLOWED_HOSTS a backend answers only to one of them."""
    hosts = load().hosts
    return {"Host": hosts[0]} if hosts else {}


def healthy(port: int) -> bool:
    """Whether the process answers and reaches Redis."""
    return health(port).get("status") == "healthy"


def _body(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        return dict(json.load(error))
    except ValueError:
        return {}
