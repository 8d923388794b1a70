"""`python -m app doctor`: a verdict and a repair for what is wrong, and no secret on the screen."""

import asyncio
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import FAKE_AWS, bedrock_env
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Failure, Reply

ROOT = Path(__file__).parent.parent


def doctor(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run in an empty folder, so that no .env of the checkout is read."""
    return subprocess.run(
        [sys.executable, "-m", "app", "doctor"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_machine_with_the_demo_has_no_failure(tmp_path: Path) -> None:
    report = doctor(tmp_path)
    assert report.returncode == 0, report.stdout + report.stderr
    assert "FAIL" not in report.stdout
    assert "demo" in report.stdout


def test_secrets_are_masked(tmp_path: Path) -> None:
    canary = "canary-9f3a"
    report = doctor(
        tmp_path,
        API_KEYS=f"alice:{canary}",
        REDIS_URL=f"redis://user:{canary}@127.0.0.1:1/0",
        PROVIDER="bedrock",
        AWS_ACCESS_KEY_ID=f"AKIA{canary}",
        AWS_SECRET_ACCESS_KEY=canary,
        AWS_ENDPOINT_URL_BEDROCK_RUNTIME="http://127.0.0.1:1",
    )
    assert "API_KEYS=********" in report.stdout
    assert canary not in report.stdout + report.stderr


def test_a_redis_that_does_not_answer_is_a_failure_with_a_repair(tmp_path: Path) -> None:
    report = doctor(tmp_path, REDIS_URL="redis://127.0.0.1:1/0")
    assert report.returncode == 1
    assert "FAIL  redis" in report.stdout
    assert "repair: start Redis, or correct REDIS_URL" in report.stdout


@pytest.mark.parametrize(("model", "verdict"), [("llama3.2:3b", "ok"), ("qwen3", "ok"), ("other", "FAIL")])
async def test_ollama_is_asked_as_the_service_asks_it(tmp_path: Path, model: str, verdict: str) -> None:
    async with FakeOllama() as ollama:
        ollama.models = ("llama3.2:3b", "qwen3")
        ollama.capabilities = ("completion", "tools") if model == "qwen3" else ("completion",)
        env = {"PROVIDER": "ollama", "OLLAMA_HOST": ollama.url, "OLLAMA_MODEL_GENERAL": model}
        report = await asyncio.to_thread(partial(doctor, tmp_path, **env))
        assert f"{verdict:<5} ollama: {model} at {ollama.url}" in report.stdout, report.stdout + report.stderr
        assert report.returncode == (verdict == "FAIL")
        assert ("ollama pull other" in report.stdout) == (model == "other")
        assert ("answers; it takes no tools" in report.stdout) == (model == "llama3.2:3b")
        for exchange in ollama.exchanges:
            assert (bool(exchange.body.get("tools")), exchange.body["stream"]) == (model == "qwen3", True)
            assert exchange.body["messages"][0]["role"] == "system"


def test_a_missing_ollama_is_a_failure_with_a_repair(tmp_path: Path) -> None:
    report = doctor(tmp_path, PROVIDER="ollama", OLLAMA_HOST="http://127.0.0.1:1")
    assert report.returncode == 1
    assert "ollama serve" in report.stdout


def test_bedrock_without_credentials_is_a_failure_with_a_repair(tmp_path: Path) -> None:
    report = doctor(tmp_path, PROVIDER="bedrock", AWS_EC2_METADATA_DISABLED="true")
    assert report.returncode == 1
    assert "FAIL  aws: no credentials" in report.stdout
    assert "aws configure" in report.stdout


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (None, "ok    bedrock: amazon.nova-lite-v1:0 answers"),
        (Failure(403, "AccessDeniedException", "no"), "FAIL  bedrock: AccessDeniedException"),
        (Failure(429, "ThrottlingException", "slow down"), "FAIL  bedrock: ThrottlingException"),
    ],
)
async def test_bedrock_is_asked_as_the_service_asks_it(
    tmp_path: Path, bedrock: FakeBedrock, refusal: Failure | None, told: str
) -> None:
    if refusal:
        bedrock.default = Reply(refuse=True, failure=refusal)
    report = await asyncio.to_thread(partial(doctor, tmp_path, **bedrock_env(bedrock)))
    assert told in report.stdout, report.stdout + report.stderr
    assert "AKIA… from env" in report.stdout
    assert FAKE_AWS["AWS_SECRET_ACCESS_KEY"] not in report.stdout + report.stderr
    (exchange,) = bedrock.exchanges
    assert exchange.body["inferenceConfig"]["maxTokens"] == 16
    assert exchange.body["toolConfig"]["tools"]
    assert exchange.body["system"]


@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        ("This model doesn't support tool use in streaming mode.", "takes no tools"),
        ("This model doesn't support system messages. Try again without.", "takes no system prompt"),
    ],
)
async def test_what_the_model_refuses_is_told_and_no_failure(
    tmp_path: Path, bedrock: FakeBedrock, words: str, lacks: str
) -> None:
    bedrock.script.append(Reply(refuse=True, failure=Failure(400, "ValidationException", words)))
    report = await asyncio.to_thread(partial(doctor, tmp_path, **bedrock_env(bedrock)))
    assert f"amazon.nova-lite-v1:0 answers; it {lacks}, so goes without" in report.stdout, report.stdout
    assert report.returncode == 0


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    report = doctor(tmp_path, MAX_RUNS="many")
    assert report.returncode == 2
    assert report.stderr.startswith("Wrong setting: MAX_RUNS")
    assert len(report.stderr.splitlines()) == 1
