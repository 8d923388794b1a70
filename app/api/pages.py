"""The chat page and the API description, both served from here, so that neither needs the internet."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

STATIC = Path(__file__).parents[2] / "static"
FRESH = "no-cache"  # asked again each time, answered 304 when unchanged
FOREVER = "public, max-age=31536000, immutable"  # vendored files carry their version in the name

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page() -> FileResponse:
    """The chat page."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": FRESH})


@router.get("/docs")
async def docs() -> FileResponse:
    """The API description, for people."""
    return FileResponse(STATIC / "docs.html", headers={"Cache-Control": FRESH})


class _Static(StaticFiles):
    """Static files with the caching that fits each."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = FOREVER if path.startswith("vendor/") else FRESH
        return response


def install(app: FastAPI) -> None:
    """Adds the pages; last, so that they shadow nothing."""
    app.include_router(router)
    app.mount("/static", _Static(directory=STATIC), name="static")
