"""The figures of this backend for Prometheus. Nginx hands nobody here: each backend is asked by itself."""

from fastapi import APIRouter, Response

from app.api.here import Here
from app.runs.metrics import KIND

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(here: Here) -> Response:
    """What this backend has counted, as Prometheus reads it."""
    return Response(here.metrics.page(), headers={"Content-Type": KIND, "Cache-Control": "no-store"})
