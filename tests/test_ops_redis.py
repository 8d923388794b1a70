"""A Redis that is somebody else's: behind TLS, with a user who may touch our keys and nothing more."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which

import httpx
import pytest

from tests.world.processes import Program, free_port
from tests.world.redis_server import server_binary
from tests.world.waiting import eventually

# As docs/cloud.md tells people to make it.
USER = (
    "user chat on >secret ~chat:* ~chats* ~stop:* ~alive:* ~held:* ~backends ~queued ~files* ~stopped "
    "&*bells* +@all -@admin -@dangerous +info"
)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if which("openssl") is None:
        pytest.skip("openssl is not installed: sudo apt install -y openssl")
    made, key = folder / "redis.crt", folder / "redis.key"
    names = "-subj /CN=redis -addext subjectAltName=IP:127.0.0.1"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 {names}"
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(made)], check=True, capture_output=True
    )
    return made, key


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    made, key = certificate(tmp_path)
    (tmp_path / "users.acl").write_text(f"user default off\n{USER}\n")
    port = free_port()
    options = [
        "--port",
        "0",
        "--tls-port",
        str(port),
        "--tls-cert-file",
        str(made),
        "--tls-key-file",
        str(key),
    ]
    options += ["--tls-auth-clients", "no", "--aclfile", str(tmp_path / "users.acl"), "--bind", "127.0.0.1"]
    server = Program([str(server_binary()), "--dir", str(tmp_path), *options], tmp_path / "redis.log")
    await server.start()
    await eventually(lambda: not server.running or "Ready to accept" in server.output)
    if not server.running:
        pytest.skip(f"this Redis knows no TLS: {server.output[-200:]}")
    yield f"rediss://chat:secret@127.0.0.1:{port}/0?ssl_ca_certs={made}"
    await server.end()


@pytest.fixture
async def backend(tmp_path: Path, url: str) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    env = {"PORT": str(port), "HOST": "127.0.0.1", "REDIS_URL": url, "BACKEND_ID": "tls"}
    program = Program([sys.executable, "-m", "app"], tmp_path / "app.log", env=env)
    await program.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:

        async def healthy() -> bool:
            try:
                return (await client.get("/health")).status_code == 200
            except httpx.TransportError:
                assert program.running, program.output
                return False

        await eventually(healthy, within=60)
        yield client
        await program.end()
    assert "NOPERM" not in program.output


async def test_chat_stop_and_memory_work_with_tls_and_a_user_of_few_rights(
    backend: httpx.AsyncClient,
) -> None:
    health = (await backend.get("/health")).json()
    assert health["stop_listener"] == "listening"
    async with backend.stream("POST", "/api/v1/chat/tls", json={"message": "Tell me a long story"}) as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        await anext(lines)
        stopped = (await backend.post("/api/v1/stop/tls", params={"wait": 3000})).json()
        rest = [line async for line in lines if line.startswith("data:")]
    assert stopped["result"] == "stopped"
    assert rest[-1] == "data: [STOPPED]"
    kept = (await backend.get("/api/v1/chat/tls")).json()["messages"]
    assert [message["role"] for message in kept] == ["user", "assistant"]
    assert (await backend.get("/api/v1/status")).status_code == 200
    assert (await backend.get("/api/v1/chats")).json()["count"] == 1
    assert (await backend.delete("/api/v1/chat/tls")).status_code == 200
