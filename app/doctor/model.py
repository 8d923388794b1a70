"""What the doctor finds at the model: whether it answers as the service asks it, and else what repairs it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from app.agents.failures import translated, trouble_of
from app.agents.models.openai import listed
from app.agents.words import masked
from app.doctor.asking import MOST_SECONDS, ask_model
from app.doctor.machine import Finding, in_container
from app.errors import ModelFailure
from app.settings import Settings

_FAILURES = (ModelFailure, BotoCoreError, ClientError, aiohttp.ClientError, OSError, ValueError)
_SIGN_IN = "aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env, or an instance role"
_AWS_REPAIRS = {
    "AccessDeniedException": (
        "allow bedrock:InvokeModelWithResponseStream for this key, and the model in Bedrock"
    ),
    "ResourceNotFoundException": "correct BEDROCK_MODEL_ID or AWS_REGION: not every model is in every region",
    "ValidationException": (
        "newer models want an inference profile as BEDROCK_MODEL_ID, such as global.… or us.…"
    ),
    "ThrottlingException": "the quota of the account is used up: wait, or ask for more under Service Quotas",
    "ExpiredTokenException": "sign in again: aws sso login, or new keys",
    "UnrecognizedClientException": "AWS does not know this key: aws configure",
    "InvalidSignatureException": "the secret is wrong, or the clock: aws configure; timedatectl",
}
_OPENAI_ADDRESS = "start it, or correct OPENAI_BASE_URL (it ends with /v1)"
_OPENAI_REPAIRS = {
    "model_unavailable": _OPENAI_ADDRESS,
    "model_setup": _OPENAI_ADDRESS,
    "model_auth": "correct OPENAI_API_KEY in .env",
    "model_not_found": "OPENAI_MODEL_ID=<one that the server has> in .env",
}
_WAIT = "wait a little, then make doctor again"


def ollama(settings: Settings) -> Finding:
    """Whether Ollama answers with the model."""
    host, model = settings.ollama_host, settings.ollama_model_general
    repairs = {
        "model_unavailable": _reach_ollama(),
        "model_setup": _reach_ollama(),
        "model_not_found": f"ollama pull {model}",
    }
    return _found("ollama", f"{model} at {host}", settings, repairs)


def openai(settings: Settings) -> Finding:
    """Whether the server answers, takes the key and has the model."""
    about = f"{settings.openai_model_id} at {settings.openai_base_url}"
    found = _found("openai", about, settings, _OPENAI_REPAIRS)
    if found.repair == _OPENAI_REPAIRS["model_not_found"] and (names := asyncio.run(listed(settings))):
        return Finding(
            found.verdict, found.what, f"{found.detail}; it has {', '.join(names[:5])}", found.repair
        )
    return found


def bedrock(settings: Settings) -> Iterator[Finding]:
    """The credentials, and whether Bedrock answers."""
    try:
        credentials = asyncio.run(_credentials())
    except _FAILURES as error:
        yield _judged("bedrock", settings.bedrock_model_id, error, {})
        return
    if credentials is None:
        yield Finding("FAIL", "aws", "no credentials", _SIGN_IN)
        return
    source = f"key {str(credentials.access_key)[:4]}… from {credentials.method}"
    yield Finding("ok", "aws", f"{source}, region {settings.aws_region}")
    yield _found("bedrock", settings.bedrock_model_id, settings, {})


async def _credentials() -> Any:
    return await get_session().get_credentials()


def _found(what: str, about: str, settings: Settings, repairs: dict[str, str]) -> Finding:
    about = masked(about, "")
    try:
        able = asyncio.run(ask_model(settings))
    except TimeoutError:
        detail = f"{about} has said nothing for {MOST_SECONDS:.0f} s: it may be loaded or busy"
        return Finding("warn", what, detail, _WAIT)
    except _FAILURES as error:
        return _judged(what, about, error, repairs)
    lacking = [name for name, takes in (("tools", able.tools), ("system prompt", able.system)) if not takes]
    without = f"; it takes no {' and no '.join(lacking)}, so goes without" if lacking else ""
    return Finding("ok", what, f"{about} answers{without}")


def _judged(what: str, about: str, error: BaseException, repairs: dict[str, str]) -> Finding:
    inner = (error.__cause__ or error) if isinstance(error, ModelFailure) else error
    trouble, told = trouble_of(inner), translated(error)
    if told is None:
        return Finding("FAIL", what, str(error), "correct that file, or the setting")
    words = f" ({said})" if inner is not error and (said := masked(trouble.words, "")) else ""
    named = f"{trouble.name} for {about}" if what == "bedrock" else about
    loading = told.code == "model_overloaded"
    repair = _AWS_REPAIRS.get(trouble.name) or repairs.get(told.code) or _default_repair(what)
    return Finding(
        "warn" if loading else "FAIL", what, f"{named}: {told.detail}{words}", _WAIT if loading else repair
    )


def _default_repair(what: str) -> str:
    if what == "bedrock":
        return "correct AWS_REGION and BEDROCK_MODEL_ID; is this machine online?"
    return "its own words above say why, its log more"


def _reach_ollama() -> str:
    if not in_container():
        return "start it (ollama serve), or correct OLLAMA_HOST"
    return (
        "leave OLLAMA_HOST empty (host.docker.internal is the machine itself) and let Ollama listen there: "
        "sudo systemctl edit ollama, add [Service] Environment=OLLAMA_HOST=0.0.0.0, sudo "
        "systemctl restart ollama"
    )
