"""The stack from outside, through its published port, while its parts are killed, restarted and moved."""

import threading
import time

import httpx
import pytest

from tests.containers.stack import BACKENDS, Stack, run, wait_until

pytestmark = pytest.mark.timeout(400)

ALL = {"backend-1", "backend-2", "backend-3"}


def service(backend: str) -> str:
    """The compose service of `backend-1` is `backend1`."""
    return backend.replace("-", "")


def address(stack: Stack, name: str) -> str:
    networks = stack.inspect(name)["NetworkSettings"]["Networks"]
    return str(networks[f"{stack.project}_front"]["IPAddress"])


def test_start_tells_the_address_and_three_backends_answer(stack: Stack) -> None:
    again = stack.start()
    assert "runs already" in again
    assert stack.url.replace("127.0.0.1", "localhost") in again
    assert "demo" in again
    assert stack.names() == ALL


def test_requests_are_spread_over_the_backends(stack: Stack) -> None:
    answered = [stack.client.post("/api/v1/stop/nobody").headers["X-Backend"] for _ in range(150)]
    assert set(answered) == ALL
    assert min(answered.count(name) for name in ALL) > 25


def test_a_stop_through_another_backend_ends_the_reply(stack: Stack) -> None:
    through: set[bool] = set()
    for number in range(30):
        chat = stack.chat(f"stop-{number}")
        said = stack.client.post(f"/api/v1/stop/{chat.chat_id}", params={"wait": 3000}).json()
        assert said["result"] == "stopped"
        assert said["backend"] == chat.backend
        assert [line for line in chat.lines if line.startswith("data:")][-1] == "data: [STOPPED]"
        through.add(said["answered_by"] != said["backend"])
        if True in through:
            break
    assert True in through


def test_a_reader_comes_back_after_the_owner_was_killed(stack: Stack) -> None:
    chat = stack.chat("killed")
    run("docker", "kill", stack.container(service(chat.backend)))
    with pytest.raises(httpx.TransportError):
        list(chat.lines)
    try:
        with stack.client.stream("GET", "/api/v1/chat/killed/events", params={"format": "json"}) as answer:
            assert answer.headers["X-Backend"] != chat.backend
            lines = list(answer.iter_lines())
        assert lines.count("event: end") == 1
        assert "backend_lost" in lines[-2]
        kept = stack.client.get("/api/v1/chat/killed").json()
        assert [entry["role"] for entry in kept["messages"]] == ["user", "assistant"]
        assert kept["messages"][1]["content"]
        assert stack.names() == ALL - {chat.backend}
    finally:
        stack.compose("up", "--detach", "--wait", service(chat.backend))
    wait_until(lambda: stack.names() == ALL)


def test_a_backend_with_a_new_address_is_found_without_a_reload(stack: Stack) -> None:
    before, nginx = address(stack, "backend2"), stack.inspect("nginx")
    run("docker", "rm", "--force", stack.container("backend2"))
    network = ("--network", f"{stack.project}_front", "--ip", before)
    squatter = run("docker", "run", "--detach", "--rm", *network, "redis:8-alpine", check=False)
    if squatter.returncode != 0:  # the network has no subnet of the user's own: the next free address it is
        squatter = run("docker", "run", "--detach", "--rm", *network[:2], "redis:8-alpine")
    try:
        stack.compose("up", "--detach", "--wait", "backend2")
        assert address(stack, "backend2") != before
        wait_until(lambda: "backend-2" in stack.names(20), seconds=15)
    finally:
        run("docker", "rm", "--force", squatter.stdout.strip())
    assert stack.inspect("nginx")["State"]["Pid"] == nginx["State"]["Pid"]


def test_a_wrong_setting_is_one_line_and_stops_nothing(stack: Stack) -> None:
    wrong = stack.make("restart", check=False, PROVIDER="nonsense")
    assert wrong.returncode != 0
    assert [line for line in wrong.stderr.splitlines() if not line.startswith("make")] == [
        "Wrong setting: PROVIDER: Input should be 'demo', 'ollama', 'openai' or 'bedrock'"
    ]
    assert stack.names() == ALL


def test_a_rolling_restart_loads_changes_fails_no_request_and_cuts_no_reply(stack: Stack) -> None:
    (stack.folder / "mine").mkdir()
    (stack.folder / "mine" / "pirate.toml").write_text(
        'description = "Says arr"\nprompt = "You are a pirate."\n'
    )
    (stack.folder / ".env").write_text("AGENTS_DIR=mine\n")
    stop, statuses, ends = threading.Event(), set(), []

    def ask() -> None:
        with httpx.Client(base_url=stack.url, timeout=30) as client:
            while not stop.is_set():
                statuses.add(client.post("/api/v1/stop/nobody").status_code)
                time.sleep(0.01)  # below the rate that Nginx allows one client

    def talk(number: int) -> None:
        with httpx.Client(base_url=stack.url, timeout=60) as client:
            while not stop.is_set():
                answer = client.post(
                    f"/api/v1/chat/rolling-{number}", json={"message": "hello", "on_busy": "replace"}
                )
                ends.append(answer.text.strip().splitlines()[-1])

    threads = [threading.Thread(target=ask), *(threading.Thread(target=talk, args=(n,)) for n in range(3))]
    for thread in threads:
        thread.start()
    pids = [stack.inspect(name)["State"]["Pid"] for name in BACKENDS]
    restarted = stack.make("restart")
    stop.set()
    for thread in threads:
        thread.join()
    assert restarted.returncode == 0
    assert statuses == {202}
    assert set(ends) == {"data: [DONE]"}
    assert all(stack.inspect(name)["State"]["Pid"] not in pids for name in BACKENDS)
    assert "pirate" in stack.client.get("/agents").json()["agents"]


def test_chats_outlive_a_restart_of_redis(stack: Stack) -> None:
    stack.client.post("/api/v1/chat/kept", json={"message": "hello"})
    kept = stack.client.get("/api/v1/chat/kept").json()["messages"]
    assert len(kept) == 2
    stack.compose("restart", "redis")
    wait_until(lambda: stack.client.get("/health").status_code == 200)
    wait_until(lambda: stack.client.get("/api/v1/chat/kept").status_code == 200)
    assert stack.client.get("/api/v1/chat/kept").json()["messages"] == kept
    chat = stack.chat("after-redis")
    assert stack.client.post("/api/v1/stop/after-redis", params={"wait": 3000}).json()["result"] == "stopped"
    chat.answer.close()


def test_the_commands_of_the_makefile(stack: Stack) -> None:
    assert "backend3" in stack.make("status").stdout
    assert '"healthy"' in stack.make("health").stdout
    assert "ready" in stack.make("logs-backend").stdout
    assert "request_id" in stack.make("logs-nginx").stdout
    assert "Ready to accept connections" in stack.make("logs-redis").stdout
    doctor = stack.make("doctor").stdout
    assert "ok    redis: version" in doctor
    assert "FAIL" not in doctor


def test_stop_lets_replies_end_and_start_finds_the_chats_again(stack: Stack) -> None:
    stack.client.post("/api/v1/chat/night", json={"message": "hello"})
    kept = stack.client.get("/api/v1/chat/night").json()["messages"]
    chat = stack.chat("cut")
    stack.make("stop")
    assert [line for line in chat.lines if line.startswith("data:")][-1].startswith("data: [")
    assert stack.compose("ps", "--quiet") == ""
    assert "Nothing runs" in stack.make("stop").stdout
    stack.start()
    assert stack.client.get("/api/v1/chat/night").json()["messages"] == kept
