"""The application: its routes and the door that every request passes.

`uvicorn app.main:app` serves it too.
"""

import runpy

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app import __version__, api
from app.api import problems
from app.api.access import App, Door
from app.backend import Backend
from app.settings import Settings, load


def build(settings: Settings) -> tuple[Backend, App]:
    """A backend, and its routes behind the door.

    Raises `ValueError` with one line when an agent file or its folder cannot be used.
    """
    backend = Backend(settings)
    app = FastAPI(
        title="FastAPI Agent Chat",
        version=__version__,
        summary="Chat with agents; stop them the moment you say so, on any backend.",
        lifespan=lambda _: backend.open(),
        servers=[{"url": settings.base_path}] if settings.base_path else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.backend = backend
    problems.install(app)
    for router in api.routers():
        for route in router.routes:
            if isinstance(route, APIRoute):
                route.summary = (route.endpoint.__doc__ or "").split("\n")[0]
        app.include_router(router)
    api.pages.install(app)
    return backend, Door(app, settings, lambda: backend.runs.draining)


def __getattr__(name: str) -> App:
    """`app`, built when somebody first asks for it: by then the settings must be right."""
    if name == "app":
        from app import logs

        settings = load()
        logs.set_up(settings.log_level, settings.log_format, settings.backend_id)
        built: App = build(settings)[1]
        globals()[name] = built  # uvicorn asks twice
        return built
    raise AttributeError(name)


if __name__ == "__main__":
    runpy.run_module("app", run_name="__main__", alter_sys=True)
