"""`python -m app doctor`: a verdict and a repair for what is wrong, and no secret on the screen."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import FAKE_AWS, bedrock_env
from tests.world.fakes.bedrock import FakeBedrock
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


class Ollama(BaseHTTPRequestHandler):
    """Answers what the service asks before a reply, and nothing else."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.path == "/api/show" and asked["model"] in ("llama3.2:3b", "qwen3")
        told = {"capabilities": ["completion"]} if known else {"error": f"model '{asked['model']}' not found"}
        body = json.dumps(told).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def ollama() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


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
def test_ollama_must_have_the_model(tmp_path: Path, ollama: str, model: str, verdict: str) -> None:
    report = doctor(tmp_path, PROVIDER="ollama", OLLAMA_HOST=ollama, OLLAMA_MODEL_GENERAL=model)
    assert f"{verdict:<5} ollama: " in report.stdout
    assert report.returncode == (verdict == "FAIL")
    assert ("ollama pull other" in report.stdout) == (model == "other")


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
    assert exchange.body["inferenceConfig"]["maxTokens"] == 1


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    report = doctor(tmp_path, MAX_RUNS="many")
    assert report.returncode == 2
    assert report.stderr.startswith("Wrong setting: MAX_RUNS")
    assert len(report.stderr.splitlines()) == 1
