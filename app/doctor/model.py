"""Whether the model answers, asked through the service's own clients: same addresses, credentials and errors.

Ollama is asked what its model can do, as the service asks it before a reply: that loads nothing. Bedrock is
asked for a reply of one token, which shows region, model access and permission at once.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from app.agents.failures import Trouble, translated, trouble_of
from app.agents.models.lines import MOST_ERROR, first_bytes, open_session
from app.agents.models.provider import open_provider
from app.doctor.machine import ASK_SECONDS, Finding, in_container
from app.errors import ModelFailure
from app.settings import Settings

BEDROCK_SECONDS = 30.0
_SIGN_IN = "aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env, or an instance role"
_REPAIRS = {
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


def ollama(settings: Settings) -> Finding:
    """Whether Ollama has the model."""
    return asyncio.run(_ollama(settings.ollama_host, settings.ollama_model_general))


async def _ollama(host: str, model: str) -> Finding:
    try:
        async with (
            asyncio.timeout(ASK_SECONDS),
            open_session(1) as session,
            session.post(f"{host}/api/show", json={"model": model}, allow_redirects=False) as answer,
        ):
            words = (await first_bytes(answer.content, MOST_ERROR)).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Finding("FAIL", "ollama", f"{host} does not answer ({type(error).__name__})", _reach_ollama())
    if answer.status == 200:
        return Finding("ok", "ollama", f"{host} has {model}")
    if Trouble(answer.status, "", words).kind == "not_found":
        return Finding("FAIL", "ollama", f"answers, but has no {model}", f"ollama pull {model}")
    return Finding("FAIL", "ollama", f"{host} answers {answer.status}", _reach_ollama())


def _reach_ollama() -> str:
    if not in_container():
        return "start it (ollama serve), or correct OLLAMA_HOST"
    return (
        "leave OLLAMA_HOST empty (host.docker.internal is the machine itself) and let Ollama listen there: "
        "sudo systemctl edit ollama, add [Service] Environment=OLLAMA_HOST=0.0.0.0, sudo "
        "systemctl restart ollama"
    )


def bedrock(settings: Settings) -> Iterator[Finding]:
    """The credentials, and whether Bedrock answers; if not, what each message would be told."""
    try:
        credentials = asyncio.run(_credentials())
        if credentials is None:
            yield Finding("FAIL", "aws", "no credentials", _SIGN_IN)
            return
        source = f"key {str(credentials.access_key)[:4]}… from {credentials.method}"
        yield Finding("ok", "aws", f"{source}, region {settings.aws_region}")
        asyncio.run(_one_token(settings))
    except (ModelFailure, BotoCoreError, ClientError, OSError) as error:
        yield _judged(settings.bedrock_model_id, error)
        return
    yield Finding("ok", "bedrock", f"{settings.bedrock_model_id} answers")


async def _credentials() -> Any:
    return await get_session().get_credentials()


async def _one_token(settings: Settings) -> None:
    async with asyncio.timeout(BEDROCK_SECONDS), AsyncExitStack() as stack:
        provider = await open_provider(settings, stack)
        model: Any = provider.build(settings.bedrock_model_id)
        model.update_config(max_tokens=1)
        while True:
            try:
                async for _ in model.stream([{"role": "user", "content": [{"text": "Hi"}]}]):
                    pass
            except ClientError as refusal:  # such as the wish for an inference profile
                if not model.learn(refusal):
                    raise
            else:
                return


def _judged(model: str, error: BaseException) -> Finding:
    trouble = trouble_of(error.__cause__ or error if isinstance(error, ModelFailure) else error)
    told = translated(error)
    said = f"{trouble.name} for {model}" + (f": {told.detail}" if told else "")
    repair = _REPAIRS.get(trouble.name, "correct AWS_REGION and BEDROCK_MODEL_ID; is this machine online?")
    return Finding("FAIL", "bedrock", said, repair)
