"""`python -m app doctor`: looks at this machine, the settings and what they point to, and says what
repairs it.

Asks Redis and the model through the service's own clients, so with the same login and addresses. Secrets
are never printed.
"""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from time import time

from loguru import logger
from pydantic import SecretStr

from app import envfile
from app.doctor import floors, model
from app.doctor.front import leads_here
from app.doctor.machine import ASK_SECONDS, Finding, look
from app.doctor.mcp import mcp_servers
from app.doctor.tools import own_tools
from app.errors import RedisUnavailable
from app.settings import Settings, load
from app.store.wire.connection import Connection

SKEW_SECONDS = 240  # AWS refuses signatures that are five minutes off


def main(running: bool = False) -> int:
    """Prints every finding as it is made; 1 when one of them keeps the service from working.

    `running`: these are the settings of a stack that runs, which has its port.
    """
    settings = load()
    logger.disable("app")  # what is wrong is told once
    print("\n".join(_shown(settings)), flush=True)
    failed = False
    for finding in _findings(settings, running):
        print(finding, flush=True)
        failed = failed or finding.verdict == "FAIL"
    return int(failed)


def _shown(settings: Settings) -> Iterator[str]:
    """What is set, secrets masked."""
    yield "Settings that are set (the others have their defaults):"
    for name in sorted(settings.model_fields_set):
        value = getattr(settings, name)
        yield f"      {name.upper()}={'********' if isinstance(value, SecretStr) else value}"


def _findings(settings: Settings, running: bool) -> Iterator[Finding]:
    yield from look(settings, running)
    yield from _redis(settings)
    if settings.provider == "bedrock":
        yield _clock(settings.aws_region)
        yield from model.bedrock(settings)
    elif settings.provider == "ollama":
        yield model.ollama(settings)
    elif settings.provider == "openai":
        yield model.openai(settings)
    else:
        yield Finding(
            "ok", "model", "demo: scripted; PROVIDER=ollama, openai or bedrock in .env for a real one"
        )
    if settings.mcp_config:
        yield mcp_servers(settings)
    if settings.tools_dir:
        yield own_tools(settings)
    yield from leads_here(envfile.variables().get("URL", ""), settings.base_path)
    yield _access(settings)


def _redis(settings: Settings) -> Iterator[Finding]:
    if not {"redis_url", "redis_host"} & settings.model_fields_set:
        yield Finding("ok", "redis", "one of its own, once it runs")
        return
    try:
        info = asyncio.run(_info(settings))
    except RedisUnavailable as error:
        repair = "start Redis, or correct REDIS_URL (scheme, user, password, host, port)"
        yield Finding("FAIL", "redis", f"does not answer ({type(error.__cause__).__name__})", repair)
        return
    yield from _judge(info)


async def _info(settings: Settings) -> dict[str, str]:
    async with Connection(settings, ()) as redis:
        return await redis.info()


def _judge(info: dict[str, str]) -> Iterator[Finding]:
    """`info` as Redis or Valkey tells it."""
    version = info.get("valkey_version") or info.get("redis_version", "0.0")
    if tuple(int(part) for part in version.split(".")[:2]) < (6, 2):
        yield Finding("FAIL", "redis", f"version {version}", "install Redis 6.2 or newer, or any Valkey")
    else:
        yield Finding("ok", "redis", f"version {version}, {info.get('used_memory_human')} used")
    if "valkey_version" not in info and (old := floors.behind("redis", version)):
        yield Finding(
            "warn", "redis", old, "a newer image or package: docker compose pull redis, or apt upgrade"
        )
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        repair = (
            "redis-cli config set maxmemory-policy noeviction (a managed service: in its parameter group)"
        )
        yield Finding("FAIL", "redis", f"maxmemory-policy {policy} may throw away running replies", repair)
    if not int(info.get("aof_enabled", 0)):
        yield Finding(
            "warn", "redis", "chats do not survive its restart", "redis-cli config set appendonly yes"
        )


def _clock(region: str) -> Finding:
    """A Raspberry Pi has no clock of its own, and AWS refuses what is signed at the wrong time."""
    try:
        with urllib.request.urlopen(f"https://sts.{region}.amazonaws.com/", timeout=ASK_SECONDS) as answer:
            theirs = answer.headers["Date"]
    except urllib.error.HTTPError as error:
        theirs = error.headers["Date"]
    except OSError:
        return Finding("warn", "clock", "AWS cannot be asked for the time", "is this machine online?")
    off = abs(time() - parsedate_to_datetime(theirs).timestamp())
    if off > SKEW_SECONDS:
        repair = "sudo timedatectl set-ntp true"
        return Finding("FAIL", "clock", f"{off:.0f} s off: AWS refuses the signatures", repair)
    return Finding("ok", "clock", f"{off:.0f} s off")


def _access(settings: Settings) -> Finding:
    if settings.keys:
        return Finding("ok", "access", f"{len(settings.keys)} API key(s)")
    repair = "on more than a trusted network: API_KEYS=name:key in .env, and TLS in front"
    return Finding("warn", "access", "open: whoever reaches the port shares all chats", repair)
