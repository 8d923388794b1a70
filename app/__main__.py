"""`python -m app` serves one backend; `… doctor` checks the installation, `… check` if it can start."""

import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from app import logs
from app.clock import EXIT_SECONDS
from app.settings import Settings, load

if TYPE_CHECKING:
    from app.backend import Backend


def main() -> None:
    if sys.argv[1:2] == ["doctor"]:
        from app.doctor.checks import main as doctor

        sys.exit(doctor(running=sys.argv[2:] == ["running"]))
    settings = load()
    if sys.argv[1:] == ["check"]:
        _build(settings)
        return
    logs.set_up(settings.log_level, settings.log_format, settings.backend_id)
    serve(settings)


def serve(settings: Settings) -> None:
    """Serves until a signal comes; exit code 2 with one line when a setting cannot be used."""
    from app.api.server import Server  # behind the settings: what is wrong with them is told at once

    backend, door = _build(settings)
    config = uvicorn.Config(
        door,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds + EXIT_SECONDS),
        http=_protocol(),
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
        lifespan="on",
    )
    Server(config, backend, settings.shutdown_grace_seconds).run()


def _protocol() -> Any:
    """Ours needs httptools, which not every machine has; h11 limits headers by itself, but waits for them."""
    try:
        from app.api.protocol import Limited
    except ImportError:
        return "h11"
    return Limited


def _build(settings: Settings) -> "tuple[Backend, Any]":
    from app.main import build

    try:
        return build(settings)
    except ValueError as error:
        sys.stderr.write(f"Wrong setting: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
