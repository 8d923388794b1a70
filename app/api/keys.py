"""API keys: whose request this is. Without keys the server is open, and all requests have the same owner."""

import hmac
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from app.backend import Backend
from app.runs.held import asker


def whose(keys: dict[str, str], given: str) -> str | None:
    """The name of this key; all are compared, by their hashes, every time."""
    digest = sha256(given.encode("utf-8", "surrogateescape")).digest()
    found = [name for name, key in keys.items() if hmac.compare_digest(sha256(key.encode()).digest(), digest)]
    return found[0] if found else None


_bearer = HTTPBearer(auto_error=False, description="Needed when the server has API_KEYS")


async def _owner(
    request: Request, credentials: HTTPAuthorizationCredentials | None = Depends(_bearer)
) -> str:
    """The owner whose chats this request may see; empty where no keys are set. Answers 401 otherwise."""
    backend: Backend = request.app.state.backend
    if not backend.settings.keys:
        asker.set(_asker_address(request))
        return ""
    found = whose(backend.settings.keys, credentials.credentials) if credentials else None
    if found is None:
        raise HTTPException(401)
    asker.set(f"key {found}")
    return found


def _asker_address(request: Request) -> str:
    """Where this request comes from, as Nginx tells it; only to share places fairly."""
    told = request.headers.get("x-forwarded-for", "").split(",")[-1].strip()
    return told[:64] or (request.client.host if request.client else "")


Owner = Annotated[str, Depends(_owner)]
