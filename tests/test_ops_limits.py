"""What the limits allow at the worst fits the memory that each part may have, by sum and in earnest."""

import contextlib
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.test_ops_nginx import Backend, Front, client_of, program_of

ROOT = Path(__file__).parent.parent
KIB, MIB = 1024, 1024 * 1024
CONNECTION = (
    6 * KIB
)  # what Nginx itself keeps for one: structures, events, the pools of connection and request
COMPRESSOR = 256 * KIB + 128 * KIB  # zlib's window and hash, and the compressed pieces (gzip_buffers 32 4k)
FILES = 64 * MIB  # bodies that do not fit their buffers, in the memory file system of the container
WORKER = 16 * MIB  # the program, its zones, its table of connections


def number(text: str) -> int:
    return int(text[:-1]) * {"k": KIB, "m": MIB, "M": MIB}[text[-1]] if text[-1] in "kmM" else int(text)


def value(name: str, file: str = "http.conf") -> list[int]:
    """The numbers of a directive that stands in the file exactly once."""
    (found,) = re.findall(rf"^\s*{name} ([^;]+);", (ROOT / "nginx" / file).read_text(), re.MULTILINE)
    return [number(word) for word in found.split()]


def nginx_limit() -> int:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return number(services["nginx"]["deploy"]["resources"]["limits"]["memory"])


def test_the_worst_that_nginx_allows_fits_its_memory() -> None:
    workers = 2  # start.sh
    connections = workers * value("worker_connections", "nginx.conf.template")[0]
    count, size = value("large_client_header_buffers")
    head = value("client_header_buffer_size")[0] + count * size
    only_headers = connections * (head + CONNECTION)
    body, answer = value("client_body_buffer_size")[0], value("proxy_buffer_size")[0]
    streams = connections // 2 * (head + body + answer + 2 * CONNECTION)
    assert workers * WORKER + FILES + max(only_headers, streams) <= nginx_limit(), (
        f"{max(only_headers, streams) / MIB:.0f} MB"
    )


def test_what_one_client_can_hold_of_nginx_is_a_part_of_it() -> None:
    """Its open requests, each with its body and its buffers, and as many compressors as it may have."""
    text = (ROOT / "nginx" / "server.conf").read_text()
    (files,) = {int(most) for most in re.findall(r"limit_conn files (\d+);", text)}
    (most,) = {int(most) for most in re.findall(r"limit_conn open (\d+);", text)}
    count, size = value("large_client_header_buffers")
    one = count * size + value("client_body_buffer_size")[0] + 8 * 4 * KIB + 2 * CONNECTION
    assert most * one + files * COMPRESSOR <= nginx_limit() // 4


def test_the_same_limit_stands_wherever_nginx_is_deployed() -> None:
    swarm = yaml.safe_load((ROOT / "deploy/swarm/stack.yml").read_text())["services"]["nginx"]
    assert number(swarm["deploy"]["resources"]["limits"]["memory"]) == nginx_limit()
    pods = yaml.safe_load_all((ROOT / "deploy/kubernetes/nginx.yaml").read_text())
    (deployment,) = [one for one in pods if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == f"{nginx_limit() // MIB}Mi"
    (files,) = [
        one["emptyDir"] for one in deployment["spec"]["template"]["spec"]["volumes"] if "emptyDir" in one
    ]
    assert files == {"medium": "Memory", "sizeLimit": f"{FILES // MIB}Mi"}
    (files,) = swarm["volumes"]
    assert files["tmpfs"]["size"] == FILES
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["nginx"]
    assert compose["tmpfs"] == [f"/tmp:size={FILES // MIB}m,mode=1777"]


def test_redis_has_a_place_for_every_connection_of_three_backends() -> None:
    pools = re.findall(
        r"(?:max_connections=|_Lines\(pool, )(\d+)", (ROOT / "app/store/wire/node.py").read_text()
    )
    (most,) = re.findall(r"^maxclients (\d+)", (ROOT / "deploy/redis.conf").read_text(), re.MULTILINE)
    assert len(pools) >= 3
    assert 3 * sum(map(int, pools)) + 100 <= int(most)


def test_redis_cuts_who_does_not_take_an_answer(where: Path) -> None:
    conf = (ROOT / "deploy/redis.conf").read_text()
    (hard, soft, _) = re.findall(r"^client-output-buffer-limit normal (\S+) (\S+) (\d+)", conf, re.MULTILINE)[
        0
    ]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    limit = number(services["redis"]["deploy"]["resources"]["limits"]["memory"])
    (data,) = re.findall(r"^maxmemory (\S+)mb", conf, re.MULTILINE)
    assert int(data) * MIB + 2 * int(hard.removesuffix("mb")) * MIB < limit
    assert soft == "32mb"


@pytest.fixture(params=["machine", "wheel"])
def front(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Front]:
    started = Front(tmp_path, program_of(request.param), [Backend(f"backend-{n}") for n in (1, 2, 3)])
    yield started
    started.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 12_000:
        pytest.skip("not enough open files on this machine")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory(front: Front) -> int:
    """Bytes of Nginx and its workers."""
    pids = [front.process.pid, *children(front.process.pid)]
    return sum(
        int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) * KIB for pid in pids
    )


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def opened(front: Front, stack: contextlib.ExitStack, data: bytes) -> socket.socket:
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", front.port), 30))
    connection.sendall(data)
    return connection


def test_slow_bodies_and_half_sent_headers_leave_a_bystander_alone(front: Front, many_files: None) -> None:
    """500 bodies of which the end is missing, and 3,500 headers of 15 KB without an end, from one address."""
    before = memory(front)
    slow = b"POST /api/v1/stop/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 262144\r\n\r\n" + b"x" * 200_000
    half = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 7_600) for n in (1, 2))
    with (
        contextlib.ExitStack() as stack,
        client_of(front) as bystander,
        bystander.stream("POST", "/api/v1/chat/stream", json={}) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == ": first"
        for n in range(4_000):
            opened(front, stack, slow if n % 8 == 0 else half)
        assert memory(front) - before < 160 * MIB, "a quarter of its limit"
        assert bystander.get("/health").status_code in {200, 429}
        for backend in front.backends:
            backend.gate.set()
        assert "data: [DONE]" in list(lines)
    assert "signal 9" not in front.log.read_text()


def test_no_pod_is_handed_settings_that_only_look_like_ours() -> None:
    """Kubernetes names variables after Services: REDIS_PORT=tcp://10.96.0.10:6379."""
    for name in ("backend", "nginx"):
        parts = list(yaml.safe_load_all((ROOT / f"deploy/kubernetes/{name}.yaml").read_text()))
        pods = [part["spec"]["template"]["spec"] for part in parts if part and part["kind"] == "Deployment"]
        assert [pod["enableServiceLinks"] for pod in pods] == [False], name
