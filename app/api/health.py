"""Health, and the state of all backends."""

import asyncio
import time
from collections import Counter
from typing import Any

from fastapi import APIRouter, Response

from app import __version__
from app.api.bodies.service import Alive, Health, LineStatus, RedisStatus, StatusBody
from app.api.here import Here
from app.api.keys import Owner
from app.api.problems import answers
from app.api.runs import live_runs
from app.backend import Backend
from app.clock import HEALTH_SECONDS
from app.errors import RedisUnavailable
from app.events import iso
from app.store.store import Store

router = APIRouter(tags=["health"])


@router.get("/health/live")
async def live() -> Alive:
    """Whether the process answers. Never asks Redis."""
    return Alive()


_UNHEALTHY: dict[int | str, dict[str, Any]] = {
    503: {"model": Health, "description": "Redis is away, or the backend is leaving"}
}


@router.get("/health", responses=_UNHEALTHY, operation_id="health")
@router.get("/api/v1/health", responses=_UNHEALTHY, operation_id="health_v1")
async def health(here: Here, response: Response) -> Health:
    """Whether this backend can serve, and what it is."""
    leaving = here.runs.draining  # as it was when this was asked
    trouble = await _trouble(here.store)
    healthy = not trouble and not leaving
    response.status_code = 200 if healthy else 503
    response.headers["Cache-Control"] = "no-store"
    return Health(
        status="healthy" if healthy else "unhealthy",
        redis="disconnected" if trouble == "away" else "connected",
        trouble=trouble,
        backend=here.settings.backend_id,
        version=__version__,
        provider=here.settings.provider,
        model=here.settings.model_id,
        message_max_chars=here.settings.message_max_chars,
        file_max_kb=here.settings.file_max_kb,
        active_runs=len(here.runs),
        stop_listener="listening" if here.store.bells.listening else "polling",
        draining=leaving,
    )


@router.get("/api/v1/status", responses=answers(503))
async def status(here: Here, of: Owner) -> StatusBody:
    """The backends, what they make, the stops of the last hour, and Redis."""
    began = time.perf_counter()
    info = await here.store.redis.info()
    latency = round((time.perf_counter() - began) * 1000, 2)
    backends = await here.store.leases.backends()
    noted, runs = await here.store.stops.noted(of), await live_runs(here, of)
    if here.settings.keys:  # the load of the others is theirs
        mine = Counter(run.backend for run in runs)
        backends = {name: about | {"active_runs": mine[about["backend"]]} for name, about in backends.items()}
    return StatusBody(
        backends=sorted(backends.values(), key=lambda about: (about["backend"], about["started_at"])),
        runs=runs,
        line=await _line(here),
        stops=[one | {"at": iso(one["at"])} for one in noted[:100]],
        redis=RedisStatus(
            version=info.get("redis_version", ""),
            latency_ms=latency,
            used_memory_bytes=int(info["used_memory"]) if "used_memory" in info else None,
            maxmemory_policy=info.get("maxmemory_policy"),
        ),
    )


async def _line(here: Backend) -> LineStatus | None:
    counts = await here.line.counts()
    if counts is None:
        return None
    return LineStatus(limit=here.settings.model_parallel, working=counts[0], waiting=counts[1])


async def _trouble(store: Store) -> str | None:
    """`away`, or what keeps Redis from taking or keeping writes; None when all is well."""
    try:
        async with asyncio.timeout(HEALTH_SECONDS):
            return await store.trouble()
    except (RedisUnavailable, TimeoutError):
        return "away"
