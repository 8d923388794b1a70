"""The swarm stack on a swarm of one node: more and fewer backends, a new version, under people who talk."""

import os
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.containers.stack import Stack, free_port, run, wait_until

pytestmark = pytest.mark.timeout(400)

NAME = "chat-swarm-test"


class Swarm:
    """The stack file of the checkout, with the image of the compose tests and a Redis of its own outside."""

    def __init__(self, stack: Stack) -> None:
        self.folder = stack.folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.redis = run("docker", "run", "--detach", "--publish", "6379", "redis:8-alpine").stdout.strip()

    def deploy(self) -> None:
        host = run("hostname", "-I").stdout.split()[0]
        port = run("docker", "port", self.redis, "6379").stdout.split()[0].rsplit(":", 1)[1]
        run(
            *("docker", "stack", "deploy", "--detach=false", "-c", "deploy/swarm/stack.yml", NAME),
            cwd=self.folder,
            env={
                **os.environ,
                "IMAGE": f"chat-test-{os.getpid()}:test",
                "HTTP_PORT": str(self.port),
                "REDIS_URL": f"redis://{host}:{port}/0",
            },
        )
        wait_until(lambda: self.names() == {"backend-1", "backend-2", "backend-3"}, seconds=90)

    def scale(self, replicas: int) -> None:
        run("docker", "service", "scale", "--detach=false", f"{NAME}_backend={replicas}")
        wait_until(lambda: len(self.names()) == replicas, seconds=60)

    def names(self) -> set[str]:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            try:
                answers = [client.get("/health/live") for _ in range(80)]
            except httpx.TransportError:
                return set()
        return {answer.headers["X-Backend"] for answer in answers if answer.status_code == 200}

    def remove(self) -> None:
        run("docker", "stack", "rm", NAME)
        run("docker", "rm", "--force", "--volumes", self.redis)


@pytest.fixture(scope="module")
def swarm(stack: Stack) -> Iterator[Swarm]:
    there = run("docker", "info", "--format", "{{.Swarm.LocalNodeState}}").stdout.strip() == "active"
    if not there:
        run("docker", "swarm", "init", "--advertise-addr", "127.0.0.1")
    made = Swarm(stack)
    try:
        made.deploy()
        yield made
    finally:
        made.remove()
        if not there:
            run("docker", "swarm", "leave", "--force")


class People:
    """Some who talk without a pause until told to leave; `ends` is what each answer ended with."""

    def __init__(self, url: str, count: int) -> None:
        self.ends: list[str] = []
        self._url = url
        self._leave = threading.Event()
        self._threads = [threading.Thread(target=self._talk, args=(number,)) for number in range(count)]

    def _talk(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._leave.is_set():
                answer = client.post(f"/api/v1/chat/swarm-{number}", json={"message": "hello"})
                self.ends.append(answer.text.strip().splitlines()[-1])

    def __enter__(self) -> "People":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for thread in self._threads:
            thread.join()


def test_three_then_six_then_two_backends_without_a_lost_reply(swarm: Swarm) -> None:
    with People(swarm.url, 6) as people:
        swarm.scale(6)
        swarm.scale(2)
    assert set(people.ends) == {"data: [DONE]"}


def test_a_rolling_update_without_a_lost_reply(swarm: Swarm) -> None:
    with People(swarm.url, 4) as people:
        run("docker", "service", "update", "--detach=false", "--force", f"{NAME}_backend")
    assert set(people.ends) == {"data: [DONE]"}


def test_a_version_that_does_not_get_healthy_is_taken_back(swarm: Swarm) -> None:
    with People(swarm.url, 2) as people:
        update = (
            "docker",
            "service",
            "update",
            "--detach=false",
            "--env-add",
            "PROVIDER=nonsense",
            f"{NAME}_backend",
        )
        said = run(*update, check=False)
    assert "roll" in (said.stdout + said.stderr).lower()
    assert set(people.ends) == {"data: [DONE]"}
    template = "{{range .Spec.TaskTemplate.ContainerSpec.Env}}{{println .}}{{end}}"
    settings = run("docker", "service", "inspect", "--format", template, f"{NAME}_backend").stdout
    assert "PROVIDER=demo" in settings
