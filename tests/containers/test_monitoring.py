"""The profile `monitoring`: Prometheus finds every backend and misses one that dies, and the stack never
depends on it. Grafana is a stand-in that serves the files it is given, where its image cannot be had.
"""

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from tests.containers.stack import Stack, free_port, run, wait_until
from tests.test_metrics import queries

pytestmark = pytest.mark.timeout(400)

PROMETHEUS = "prom/prometheus:latest"
STAND_IN = """FROM nginx:1.30-alpine
RUN mkdir -p /www/api && touch /www/api/health && ln -s /etc/chat-dashboards /www/dashboards
USER 472
ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "3000", "-h", "/www"]
"""


def to_be_had(image: str) -> bool:
    """Here already, or from its registry."""
    return any(
        run("docker", *words, image, check=False).returncode == 0
        for words in (("image", "inspect"), ("pull", "-q"))
    )


@pytest.fixture(scope="module")
def watched(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A checkout made with umask 077 and started with the profile."""
    if not to_be_had(PROMETHEUS):
        pytest.skip(f"{PROMETHEUS} cannot be had here")
    made = Stack(tmp_path_factory.mktemp("watched"))
    made.environment["COMPOSE_PROJECT_NAME"] = made.project = f"chat-watched-{os.getpid()}"
    stand_in = f"grafana/grafana:{made.project}"
    build = ["docker", "build", "-q", "-t", stand_in, "-"]
    subprocess.run(build, input=STAND_IN, text=True, check=True, capture_output=True)
    made.environment |= {"GRAFANA_VERSION": made.project, "PROMETHEUS_VERSION": "latest"}
    made.environment |= {"GRAFANA_PORT": str(free_port()), "PROMETHEUS_PORT": str(free_port())}
    made.folder.joinpath(".env").write_text("COMPOSE_PROFILES=monitoring\n")
    run("chmod", "-R", "go-rwx", str(made.folder))
    try:
        started = made.make("start")
        assert "Warning" not in started.stderr
        yield made
    finally:
        made.client.close()
        made.make("clean", check=False)
        run("docker", "image", "rm", stand_in, check=False)


def asked(stack: Stack, query: str) -> list[dict[str, Any]]:
    port = stack.environment["PROMETHEUS_PORT"]
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query})
    return list(answer.json()["data"]["result"])


def counted(stack: Stack, query: str) -> float:
    return sum(float(one["value"][1]) for one in asked(stack, query))


def firing(stack: Stack) -> set[str]:
    """Alerts that wait for their time, or are told already."""
    port = stack.environment["PROMETHEUS_PORT"]
    told = httpx.get(f"http://127.0.0.1:{port}/api/v1/alerts").json()["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in told}


def test_prometheus_finds_each_backend_and_every_query_of_the_dashboard_is_one(watched: Stack) -> None:
    wait_until(lambda: counted(watched, 'up{job="chat"}') == 3, seconds=60)
    chats = [watched.client.post(f"/api/v1/chat/seen-{n}", json={"message": "hello"}) for n in range(4)]
    assert {chat.status_code for chat in chats} == {200}
    wait_until(lambda: counted(watched, 'chat_runs_ended_total{outcome="done"}') == 4, seconds=60)
    for query in queries():
        asked(watched, query.replace("$__rate_interval", "1m"))


def test_a_backend_that_has_died_is_an_alert_though_its_name_is_gone(watched: Stack) -> None:
    wait_until(lambda: counted(watched, 'up{job="chat"}') == 3, seconds=60)
    most = 'max_over_time(count(up{job="chat"} == 1)[1h:15s])'
    wait_until(lambda: counted(watched, most) == 3, seconds=60)
    run("docker", "kill", watched.container("backend2"))
    try:
        wait_until(lambda: len(asked(watched, 'up{job="chat"}')) == 2, seconds=60)
        wait_until(lambda: "BackendDown" in firing(watched), seconds=60)
    finally:
        watched.compose("up", "--detach", "--wait", "backend2")
    wait_until(lambda: "BackendDown" not in firing(watched), seconds=60)


def test_grafana_is_given_its_page_and_where_prometheus_is(watched: Stack) -> None:
    inside = partial(watched.inside, "grafana", "cat")
    for name, place in (
        ("dashboard.json", "/etc/chat-dashboards/dashboard.json"),
        ("provider.yml", "/etc/grafana/provisioning/dashboards/chat.yml"),
        ("datasource.yml", "/etc/grafana/provisioning/datasources/chat.yml"),
    ):
        assert inside(place) == (watched.folder / "deploy/monitoring" / name).read_text()
    page = httpx.get(f"http://127.0.0.1:{watched.environment['GRAFANA_PORT']}/dashboards/dashboard.json")
    assert page.json()["uid"] == "fastapi-agent-chat"


def test_only_this_machine_may_look(watched: Stack) -> None:
    for service, port in (("grafana", "3000/tcp"), ("prometheus", "9090/tcp")):
        (bound,) = watched.inspect(service)["NetworkSettings"]["Ports"][port]
        assert bound["HostIp"] == "127.0.0.1"


def test_changed_alerts_are_read_by_a_restart(watched: Stack) -> None:
    alerts = watched.folder / "deploy/monitoring/alerts.yml"
    alerts.write_text(alerts.read_text().replace("alert: QueueLong", "alert: QueueVeryLong"))
    watched.make("restart")
    port = watched.environment["PROMETHEUS_PORT"]
    wait_until(lambda: "QueueVeryLong" in httpx.get(f"http://127.0.0.1:{port}/api/v1/rules").text)


@pytest.mark.parametrize("harm", ["no image", "wrong file"])
def test_where_it_does_not_start_one_line_says_so_and_the_chats_go_on(watched: Stack, harm: str) -> None:
    config = watched.folder / "deploy/monitoring/prometheus.yml"
    text = config.read_text()
    version = "none-such" if harm == "no image" else watched.environment["GRAFANA_VERSION"]
    if harm == "wrong file":
        config.write_text("nonsense: yes\n")  # a log line with a backslash
    watched.make("stop")
    assert not run(
        "docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={watched.project}"
    ).stdout
    started = watched.make("start", GRAFANA_VERSION=version)
    config.write_text(text)
    (line,) = [line for line in started.stderr.splitlines() if line.startswith("Warning")]
    assert ("grafana" if harm == "no image" else "prometheus") in line
    assert "chats do without" in line
    assert watched.client.post("/api/v1/chat/anyway", json={"message": "hello"}).status_code == 200
    assert "Warning" not in watched.make("restart").stderr


def test_without_the_profile_a_restart_ends_them(watched: Stack) -> None:
    watched.folder.joinpath(".env").write_text("")
    watched.make("restart")
    assert not run("docker", "ps", "-q", "--filter", f"name={watched.project}-(prometheus|grafana)").stdout
    assert watched.client.get("/health").status_code == 200
