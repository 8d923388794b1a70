"""What a backend does not load, and does not do, while nobody needs it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.world.cluster import Cluster
from tests.world.waiting import eventually

ROOT = Path(__file__).parent.parent
LOADS = """
import sys, json, importlib
import app.main
importlib.import_module("app.agents.models.{provider}")
print(json.dumps([name for name in {names} if name in sys.modules]))
"""
USES = """
import app.main, boto3, ollama
session = boto3.Session(region_name="eu-west-1")
print(session.region_name, ollama.AsyncClient.__name__, boto3.__version__ > "1")
"""


def printed(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("provider", ["ollama", "demo", "openai"])
def test_clients_that_nobody_uses_are_not_loaded(provider: str) -> None:
    names = ["boto3.session", "s3transfer", "ollama._client", "aiobotocore", "mcp"]
    assert json.loads(printed(LOADS.format(provider=provider, names=names))) == []


def test_what_was_put_off_is_there_when_it_is_used() -> None:
    assert printed(USES) == "eu-west-1 AsyncClient True"


def test_one_application_is_built_however_often_uvicorn_asks_for_it() -> None:
    code = "import app.main as m; built = m.app; print('app' in vars(m) and m.app is built)"
    assert printed(code).splitlines()[-1] == "True"


def sleeps(pid: int) -> int:
    """How often the process has gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="counted by Linux")
async def test_a_backend_at_rest_is_hardly_ever_woken(cluster: Cluster, redis_url: str) -> None:
    pid = cluster.backends[1].pid
    async with Redis.from_url(redis_url) as redis:

        async def beats() -> int:
            return int((await redis.info("commandstats"))["cmdstat_hkeys"]["calls"])

        async def later(count: int) -> bool:
            return await beats() >= count

        began, before, count = time.monotonic(), sleeps(pid), await beats()
        await eventually(lambda: later(count + 2 * len(cluster.ports)), within=60, every=0.2)
    assert (sleeps(pid) - before) / (time.monotonic() - began) < 9  # a second; ten for each look at a flag
