"""The chat page and the API description, both served from here, so that neither needs the internet."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

from app.api.access import PAGE_POLICY
from app.api.here import Here

STATIC = Path(__file__).parents[2] / "static"
FRESH = "no-cache"  # asked again each time; a file that is unchanged is answered with 304
FOREVER = "public, max-age=31536000, immutable"  # vendored files carry their version in the name

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
def page(here: Here) -> HTMLResponse:
    """The chat page."""
    return _html("index.html", here.settings.base_path)


@router.get("/docs")
def docs(here: Here) -> HTMLResponse:
    """The API description, for people."""
    pictures = PAGE_POLICY.replace("img-src 'self'", "img-src 'self' data:")  # those of Swagger's style sheet
    return _html("docs.html", here.settings.base_path, {"Content-Security-Policy": pictures})


def _html(name: str, base: str, headers: dict[str, str] | None = None) -> HTMLResponse:
    """A page whose files are asked for where it is; modules find the rest from there."""
    text = (STATIC / name).read_text(encoding="utf-8").replace('="/static/', f'="{base}/static/')
    return HTMLResponse(text, headers={"Cache-Control": FRESH, **(headers or {})})


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
