"""Whether the address that people use leads here: `make doctor URL=https://home.example/chat`.

Knows the proxies in front by what they answer, and nothing of how they are set up.
"""

import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from urllib.parse import urlsplit

from app.doctor.machine import ASK_SECONDS, Finding

WHAT = "address"
RECIPES = "pass the whole path on to this stack, as in docs/cloud.md"


def leads_here(url: str, base: str) -> Iterator[Finding]:
    """`url` as a person types it, or nothing; `base` is what BASE_PATH says."""
    if not url:
        if base:
            yield Finding(
                "ok", WHAT, f"below {base}; through what is in front: make doctor URL=https://…{base}"
            )
        return
    path = urlsplit(url).path.rstrip("/")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        yield Finding("FAIL", WHAT, "URL is no address", "make doctor URL=https://home.example/chat")
    elif path != base:
        yield Finding(
            "FAIL",
            WHAT,
            f"{url} is not below BASE_PATH ({base or 'empty'})",
            f"BASE_PATH={path} in .env, then make restart",
        )
    else:
        yield _whose(url.rstrip("/"))


def _whose(url: str) -> Finding:
    try:
        status, backend = _health_at(f"{url}/health")
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        return Finding(
            "warn", WHAT, f"{url} cannot be asked from here: {why}", "ask from where people are: curl"
        )
    if status == 421:
        name = urlsplit(url).hostname
        return Finding(
            "FAIL",
            WHAT,
            f"{name} is not in ALLOWED_HOSTS",
            f"ALLOWED_HOSTS={name} in .env, then make restart",
        )
    if not backend or status not in (200, 503):
        return Finding("FAIL", WHAT, f"{url} leads elsewhere (status {status})", RECIPES)
    return Finding("ok", WHAT, f"{url} leads here, to {backend}")


def _health_at(url: str) -> tuple[int, str]:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=ASK_SECONDS) as answer:
            return answer.status, answer.headers.get("X-Backend", "")
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("X-Backend", "")
