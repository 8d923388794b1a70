"""The parts of the stack: command and environment of each, as run/parts.json hands them to `child.py`."""

import json
import os
from collections.abc import Mapping
from typing import TypedDict

from app.envfile import SETTLED
from app.settings import Settings
from deploy.given import save_json
from deploy.native.choose import SYSTEM_PATH, Stack, redis_url
from deploy.native.places import DATA, PARTS, PYTHON, ROOT, RUN
from deploy.native.small import proposals

OURS = SETTLED  # in the environment of all our processes: the folder they belong to


class Part(TypedDict):
    """What `execve` takes."""

    command: list[str]
    environment: dict[str, str]


def write(stack: Stack, settings: Settings) -> None:
    """What each part is when it starts the next time."""
    os.makedirs(RUN, mode=0o700, exist_ok=True)
    save_json(ROOT / PARTS, make(stack, settings))


def make(stack: Stack, settings: Settings) -> dict[str, Part]:
    """By name, in the environment of this command."""
    base = {**os.environ, OURS: str(ROOT)}
    password = settings.redis_password.get_secret_value()
    found: dict[str, Part] = {}
    if stack.redis:
        command = ["/bin/sh", "deploy/redis.sh", "deploy/redis.conf", str(DATA / stack.redis.folder)]
        command += [stack.redis.program, "--bind", "127.0.0.1", "--port", str(stack.redis.port)]
        command += ["--pidfile", "redis.pid"]  # in its folder
        found["redis"] = Part(command=command, environment=base)
    if stack.nginx:
        environment = base | nginx_environment(stack, settings)
        found["nginx"] = Part(command=["/bin/sh", "nginx/start.sh"], environment=environment)
    for name, port in stack.names.items():
        environment = (
            base | proposals(settings) | {"BACKEND_ID": name, "PORT": str(port), "PYTHONUNBUFFERED": "1"}
        )
        environment["HOST"] = "127.0.0.1" if stack.nginx else (stack.bind or "0.0.0.0")
        environment["HTTP_PORT"] = str(stack.http_port)
        if stack.redis:
            environment["REDIS_URL"] = redis_url(stack.redis, password)
        found[name] = Part(command=[str(PYTHON), "-m", "app"], environment=environment)
    return found


def nginx_environment(stack: Stack, settings: Settings) -> dict[str, str]:
    """What nginx/start.sh wants to know."""
    address = f"[{stack.bind}]" if ":" in stack.bind else stack.bind
    return {
        "PATH": SYSTEM_PATH,
        "TRUSTED_PROXIES": settings.trusted_proxies,
        "CORS_ORIGINS": settings.cors_origins,
        "BASE_PATH": settings.base_path,
        "NGINX": stack.nginx or "",
        "RUN_DIR": str(ROOT / RUN / "nginx"),
        "LISTEN": f"{address}:{stack.http_port}" if address else str(stack.http_port),
        "BACKENDS": " ".join(f"127.0.0.1:{port}" for port in stack.backends),
    }


def environment_of(name: str) -> Mapping[str, str]:
    """The environment of a part as it was handed out last."""
    try:
        parts = json.loads((ROOT / PARTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return dict(parts.get(name, {}).get("environment", {}))
