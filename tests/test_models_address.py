"""How a model server is reached: the ways in which its address is written, and what stands in front of it."""

from pathlib import Path

import httpx
import pytest

from app.settings import addresses
from tests.test_ops_nginx import free_port, program_of
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.processes import Program
from tests.world.waiting import eventually

FORMS = {  # as Ollama itself reads its variable
    "127.0.0.1": "http://127.0.0.1:11434",
    "0.0.0.0": "http://127.0.0.1:11434",
    "0.0.0.0:8100": "http://127.0.0.1:8100",
    ":8100": "http://127.0.0.1:8100",
    "[::1]": "http://[::1]:11434",
    "[::]:8100": "http://[::1]:8100",
    "pi": "http://pi:11434",
    "pi.lan:8100": "http://pi.lan:8100",
    "http://pi.lan": "http://pi.lan",
    "http://0.0.0.0:8100/": "http://127.0.0.1:8100",
    "https://pi.lan/ollama/": "https://pi.lan/ollama",
}


@pytest.mark.parametrize("written", FORMS)
def test_an_address_of_ollama_means_what_it_means_to_ollama(written: str) -> None:
    assert addresses.ollama(written) == FORMS[written]


GZIP = """
daemon off; pid gzip.pid; error_log stderr; events {{}}
http {{
  access_log off; gzip on; gzip_min_length 1; gzip_http_version 1.0; gzip_proxied any;
  gzip_types application/x-ndjson application/json;
  {paths}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{behind}; proxy_http_version 1.1; proxy_buffering off; }}
  }}
}}
"""


async def test_a_proxy_that_would_compress_harms_nobody(
    tmp_path: Path, redis_url: str, ollama: FakeOllama, chat_id: str
) -> None:
    port = free_port()
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{name}_temp_path {name};" for name in names)
    (tmp_path / "gzip.conf").write_text(GZIP.format(paths=paths, port=port, behind=ollama.port))
    command = [program_of("machine"), "-e", "stderr", "-p", "./", "-c", str(tmp_path / "gzip.conf")]
    proxy = Program(command, tmp_path / "gzip.log", env={})
    await proxy.start()

    async def compresses() -> bool:
        async with httpx.AsyncClient() as http:
            try:
                answer = await http.get(f"http://127.0.0.1:{port}/api/tags")
            except httpx.TransportError:
                return False
            return bool(answer.headers.get("content-encoding") == "gzip")

    try:
        await eventually(compresses, within=10)
        env = {"PROVIDER": "ollama", "OLLAMA_HOST": f"127.0.0.1:{port}"}
        cluster = Cluster(tmp_path, redis_url, env=env, backends=1)
        async with cluster, cluster.client(1) as client:
            stream = await client.ask(chat_id, "hello")
        assert (stream.outcome, stream.text) == ("done", "word0 word1 word2 word3 word4 ")
    finally:
        await proxy.end()
