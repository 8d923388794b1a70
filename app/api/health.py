"""Health, and the state of all backends."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from app import __version__
from app.api.access import owner
from app.api.problems import answers
from app.api.stops import live_runs
from app.errors import RedisUnavailable
from app.store.wire.connection import Connection
from app.times import iso

router = APIRouter(tags=["health"])

PING_SECONDS = 0.8


@router.get("/health/live")
async def live() -> dict[str, str]:
    """Whether the process answers. Never asks Redis."""
    return {"status": "alive"}


@router.get("/health", responses={503: {"description": "Redis is away, or the backend is leaving"}})
@router.get("/api/v1/health", responses={503: {"description": "Redis is away, or the backend is leaving"}})
async def health(request: Request) -> JSONResponse:
    """Whether this backend can serve, and what it is."""
    state = request.app.state
    redis = await _ping(state.redis)
    healthy = redis and not state.runs.draining
    body = {
        "status": "healthy" if healthy else "unhealthy",
        "redis": "connected" if redis else "disconnected",
        "backend": state.settings.backend_id,
        "version": __version__,
        "provider": state.settings.provider,
        "model": state.settings.model_id,
        "active_runs": len(state.runs),
        "stop_listener": "listening" if state.bells.listening else "polling",
        "draining": state.runs.draining,
    }
    return JSONResponse(body, 200 if healthy else 503, {"Cache-Control": "no-store"})


@router.get("/api/v1/status", responses=answers(503))
async def status(request: Request, of: Annotated[str, Depends(owner)]) -> dict[str, Any]:
    """The backends, what they make, the stops of the last hour, and Redis."""
    state = request.app.state
    began = time.perf_counter()
    info = await state.redis.info()
    latency = round((time.perf_counter() - began) * 1000, 2)
    backends = await state.leases.backends()
    noted = [one for one in await state.stops.noted() if one.pop("owner", "") == of]
    return {
        "backends": sorted(backends.values(), key=lambda about: (about["backend"], about["started_at"])),
        "runs": await live_runs(request, of),
        "stops": [one | {"at": iso(one["at"])} for one in noted[:100]],
        "redis": {
            "status": "connected",
            "version": info.get("redis_version", ""),
            "latency_ms": latency,
            "used_memory_bytes": int(info["used_memory"]) if "used_memory" in info else None,
            "maxmemory_policy": info.get("maxmemory_policy"),
        },
    }


async def _ping(redis: Connection) -> bool:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await redis.call("PING")
    except (RedisUnavailable, TimeoutError):
        return False
    return True
