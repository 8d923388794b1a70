"""A container as configured, looked at from inside and through the engine: what it may not do."""

import pytest

from tests.containers.stack import BACKENDS, Stack, run

pytestmark = pytest.mark.timeout(200)

EVERY = ("nginx", *BACKENDS, "redis")


def status(stack: Stack, service: str) -> dict[str, str]:
    """/proc/self/status of a process in the container."""
    lines = stack.inside(service, "cat", "/proc/self/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("service", EVERY)
def test_a_container_has_no_capability_and_cannot_gain_any(stack: Stack, service: str) -> None:
    found = status(stack, service)
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert found["NoNewPrivs"] == "1"


@pytest.mark.parametrize("service", EVERY)
def test_a_container_cannot_write_its_root(stack: Stack, service: str) -> None:
    for path in ("/x", "/etc/x", "/usr/x", "/srv/x", "/var/x"):
        done = run("docker", "exec", stack.container(service), "sh", "-c", f"touch {path}", check=False)
        assert done.returncode != 0, path
    assert stack.inspect(service)["HostConfig"]["ReadonlyRootfs"] is True


@pytest.mark.parametrize(("service", "user"), [("backend1", 10001), ("nginx", 101), ("redis", 999)])
def test_nobody_runs_as_root(stack: Stack, service: str, user: int) -> None:
    assert status(stack, service)["Uid"].split() == [str(user)] * 4


def test_the_backend_is_the_process_that_gets_the_signal(stack: Stack) -> None:
    child = stack.inside("backend1", "cat", "/proc/1/task/1/children").split()
    assert stack.inside("backend1", "cat", f"/proc/{child[0]}/cmdline").split("\0")[1:3] == ["-m", "app"]


@pytest.mark.parametrize("service", EVERY)
def test_a_container_has_limits_and_small_logs(stack: Stack, service: str) -> None:
    host = stack.inspect(service)["HostConfig"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["LogConfig"]["Config"] == {"max-size": "5m", "max-file": "3"}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"


def test_redis_is_not_published_and_its_network_leads_nowhere(stack: Stack) -> None:
    found = stack.inspect("redis")
    assert not any(found["NetworkSettings"]["Ports"].values())
    assert list(found["NetworkSettings"]["Networks"]) == [f"{stack.project}_data"]
    template = "{{.Internal}}"
    assert (
        run("docker", "network", "inspect", "-f", template, f"{stack.project}_data").stdout.strip() == "true"
    )


def test_only_nginx_is_published(stack: Stack) -> None:
    assert not any(any(stack.inspect(name)["NetworkSettings"]["Ports"].values()) for name in BACKENDS)


def test_the_image_says_what_it_is_and_is_small(stack: Stack) -> None:
    found = stack.inspect("backend1")
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert labels["org.opencontainers.image.version"] == "test"
    size = int(run("docker", "image", "inspect", "-f", "{{.Size}}", f"{stack.project}:test").stdout)
    base = int(run("docker", "image", "inspect", "-f", "{{.Size}}", "python:3.13-slim").stdout)
    assert size - base < 90_000_000


def test_the_program_is_compiled(stack: Stack) -> None:
    names = ("app.main", "fastapi", "strands")
    code = f"import {', '.join(names)}; print({', '.join(f'{name}.__cached__' for name in names)})"
    for path in stack.inside("backend1", "python", "-c", code).split():
        stack.inside("backend1", "test", "-s", path)
