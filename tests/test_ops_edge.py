"""Nginx as shipped towards the world: who a client is, what may come in at which address, what its own
refusals tell a browser, and backends that are found by name and go away.
"""

import contextlib
import json
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.test_ops_nginx import (
    PATH,
    START,
    Backend,
    Front,
    assert_problem,
    client_of,
    free_port,
    program_of,
    raw,
    sent,
)

FRIEND = {"Origin": "https://friend.example"}
Open = Callable[..., Front]


@pytest.fixture(params=["machine", "wheel"])
def open_front(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Makes fronts that are closed after the test."""
    with contextlib.ExitStack() as stack:

        def opened(backends: list[Backend] | None = None, **more: str) -> Front:
            front = Front(tmp_path, program_of(request.param), backends, **more)
            stack.callback(front.close)
            return front

        yield opened


# who a client is


def seen_as(front: Front, path: str, forwarded: str) -> str:
    with client_of(front, **{"X-Forwarded-For": forwarded}) as client:
        client.get(path)
    return sent(front, path)["X-Forwarded-For"]


@pytest.mark.parametrize("trusted", ["127.0.0.1 10.0.0.0/8 fd00::/8", "127.0.0.1,10.0.0.0/8, fd00::/8"])
def test_the_client_is_the_first_that_no_trusted_proxy_is(open_front: Open, trusted: str) -> None:
    front = open_front(TRUSTED_PROXIES=trusted)
    assert seen_as(front, "/one", "203.0.113.9") == "203.0.113.9"
    assert seen_as(front, "/two", "203.0.113.9, 10.0.0.5") == "203.0.113.9"
    assert seen_as(front, "/three", "203.0.113.9, 10.1.2.3, fd00::7, 10.0.0.5") == "203.0.113.9"
    assert seen_as(front, "/forged", "6.6.6.6, 203.0.113.9, 10.0.0.5") == "203.0.113.9"
    assert seen_as(front, "/six", "2001:db8::9, 10.0.0.5") == "2001:db8::9"


def test_without_trusted_proxies_nobody_is_believed(open_front: Open) -> None:
    assert seen_as(open_front(), "/direct", "203.0.113.9") == "127.0.0.1"


def counted_as(folder: Path, *addresses: str) -> list[str]:
    """What the limits count clients by: the rendered maps, in an Nginx that tells."""
    run, port = folder / "nginx", free_port()
    words = {
        "PATH": PATH,
        "RUN_DIR": str(run),
        "TRUSTED_PROXIES": "127.0.0.1",
        "NGINX": program_of("machine"),
    }
    subprocess.run(["sh", str(START), "--render"], env=words, check=True)
    tell = "location / { return 200 $chat_client; } access_log off;"
    (folder / "tell.conf").write_text(
        f"daemon off; pid {folder}/pid; events {{}} http {{ include {run}/upstream.conf; "
        f"server {{ listen 127.0.0.1:{port}; {tell} }} }}"
    )
    process = subprocess.Popen([program_of("machine"), "-e", "stderr", "-c", str(folder / "tell.conf")])
    try:
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=10) as client:
            return [client.get("/", headers={"X-Forwarded-For": one}).text for one in addresses]
    finally:
        process.terminate()
        process.wait(10)


def test_the_addresses_of_one_ipv6_network_are_one_client(tmp_path: Path) -> None:
    """The wheel's Nginx is not shown captures in a map (CVE-2026-93479) and counts single addresses."""
    same = ["2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:ffff::", "2001:0db8:0001:0002::9"]
    assert len(set(counted_as(tmp_path, *same))) == 1
    others = [
        "2001:db8:1:3::1",
        "2001:db8:2:2::1",
        "fd00::1",
        "fe80::1",
        "::1",
        "203.0.113.9",
        "203.0.113.10",
    ]
    assert len(set(counted_as(tmp_path, same[0], *others))) == 1 + len(others)


@pytest.mark.skipif(not Path("/proc/net/if_inet6").read_text(), reason="no IPv6 here")
def test_ipv6_is_listened_on_where_the_machine_has_it(open_front: Open) -> None:
    front = open_front(LISTEN="PORT")
    for host in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{host}:{front.port}/health", timeout=10).status_code == 200


def test_it_can_listen_on_chosen_addresses_only(open_front: Open) -> None:
    front = open_front(LISTEN="127.0.0.1:PORT, 127.0.0.7:PORT")
    assert httpx.get(f"http://127.0.0.7:{front.port}/health", timeout=10).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.8:{front.port}/health", timeout=10)


# what may come in where


@pytest.mark.parametrize(
    ("path", "most"),
    [("/api/v1/chat/a", 256), ("/chat", 256), ("/v1/chat/completions", 4096), ("/v1/responses", 4096)],
)
def test_a_body_has_the_limit_of_its_address(open_front: Open, path: str, most: int) -> None:
    front = open_front()
    with client_of(front) as client:
        assert client.post(path, content=b"x" * most * 1024).status_code == 200
        refused = client.post(path, content=b"x" * (most * 1024 + 1), headers=FRIEND)
        assert refused.status_code == 413
        kind = "application/json" if path.startswith("/v1/") else "application/problem+json"
        assert_problem(refused, "too_large", kind)
    assert front.seen(path) == 1


def test_openai_answers_stream_too(open_front: Open) -> None:
    front = open_front()
    with client_of(front) as client, client.stream("POST", "/v1/chat/completions?stream", json={}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": first"
        for backend in front.backends:
            backend.gate.set()
        assert "data: [DONE]" in list(lines)


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/", "/metrics/x", "//metrics", "/%6detrics", "/a/../metrics"]
)
def test_the_figures_of_a_backend_are_not_public(open_front: Open, path: str) -> None:
    front = open_front()
    answer = raw(front, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert not any(backend.seen for backend in front.backends)


# what its refusals tell


def refusals(front: Front, client: httpx.Client) -> Iterator[httpx.Response]:
    yield client.get("/metrics", headers=FRIEND)
    yield client.post("/chat", content=b"x" * 300_000, headers=FRIEND)
    yield client.request("PROPFIND", "/chat", headers=FRIEND)
    for backend in front.backends:
        backend.close()
    yield client.get("/health", headers=FRIEND)
    answers = (client.post("/api/v1/chat/x", headers=FRIEND) for _ in range(10_000))
    yield next(answer for answer in answers if answer.status_code == 429)


def test_every_refusal_of_nginx_can_be_read_by_an_allowed_origin(open_front: Open) -> None:
    front = open_front()
    with client_of(front) as client:
        found = list(refusals(front, client))
    assert [answer.status_code for answer in found] == [404, 413, 405, 502, 429]
    for answer in found:
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND["Origin"]
        assert answer.headers["Vary"] == "Origin"
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert ("Retry-After" in answer.headers) == (answer.status_code in {429, 502})
        assert ("Allow" in answer.headers) == (answer.status_code == 405)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://friend.example.evil", "null", "", "https://friendXexample"]
)
def test_other_origins_are_told_nothing(open_front: Open, origin: str) -> None:
    with client_of(open_front()) as client:
        answer = client.get("/metrics", headers={"Origin": origin})
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_star_lets_every_origin_read(open_front: Open) -> None:
    with client_of(open_front(CORS_ORIGINS="*")) as client:
        assert client.get("/metrics", headers=FRIEND).headers["Access-Control-Allow-Origin"] == "*"


def test_the_log_keeps_no_query_of_a_limited_request(open_front: Open) -> None:
    front = open_front()
    with client_of(front) as client:
        answers = (
            client.post("/api/v1/chat/x?canary=1", headers={"Referer": "http://canary/"})
            for _ in range(10_000)
        )
        assert next(answer for answer in answers if answer.status_code == 429)
    assert "canary" not in front.log.read_text()


# backends that are found by name


class Names(threading.Thread):
    """A name server for one name; whatever is asked, `addresses` are the answer."""

    def __init__(self, addresses: list[str]) -> None:
        super().__init__(daemon=True)
        self.addresses = addresses
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = self.socket.recvfrom(512)
                self.asked += 1
                name = question[12 : question.index(b"\0", 12) + 5]
                head = question[:2] + struct.pack("!HHHHH", 0x8180, 1, len(self.addresses), 0, 0)
                records = [
                    b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
                    for address in self.addresses
                ]
                self.socket.sendto(head + name + b"".join(records), client)


class Gone:
    """An address where nobody answers any more, not even with a refusal, as that of a killed container."""

    def __init__(self, address: str, port: int) -> None:
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind((address, port))
        self.server.listen(0)
        self.waiting = [socket.socket() for _ in range(3)]  # fill the queue: what comes behind hears nothing
        for one in self.waiting:
            one.setblocking(False)
            one.connect_ex((address, port))

    def close(self) -> None:
        for one in (*self.waiting, self.server):
            one.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_killed_backend_that_is_known_by_name_costs_nobody_a_502(open_front: Open, method: str) -> None:
    """Its address answers nothing at once; its name goes a moment later, while requests wait for it."""
    port = free_port()
    places = ["127.0.0.21", "127.0.0.22", "127.0.0.23"]
    backends = [Backend(f"backend-{n}", port, place) for n, place in enumerate(places, 1)]
    names = Names(places)
    front = open_front(backends, BACKENDS=f"backend.test:{port}", RESOLVER=f"127.0.0.1:{names.port}")
    with client_of(front) as client:
        found = {client.request(method, "/api/v1/agents").json()["backend"] for _ in range(30)}
        assert found == {"backend-1", "backend-2", "backend-3"}
        backends[1].close()
        gone = Gone(places[1], port)
        asked = names.asked
        with ThreadPoolExecutor(40) as pool:
            sent = [pool.submit(client.request, method, "/api/v1/agents") for _ in range(30)]
            names.addresses = [places[0], places[2]]
            deadline = time.monotonic() + 20
            while names.asked < asked + 2:
                assert time.monotonic() < deadline
                sent.append(pool.submit(client.request, method, "/api/v1/agents"))
                time.sleep(0.05)
            statuses = [one.result().status_code for one in sent]
        assert set(statuses) == {200}, json.dumps(statuses)
        assert {client.request(method, "/api/v1/agents").json()["backend"] for _ in range(20)} == {
            "backend-1",
            "backend-3",
        }
        gone.close()
    names.socket.close()
