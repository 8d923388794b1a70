"""Several stacks on one machine never mix, whoever starts when; and who cannot start says why, naming the
part.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.native import ports
from tests.world.checkout import ALL, Checkout
from tests.world.processes import free_port

NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
REDIS = shutil.which("redis-server")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Checkout, Checkout]]:
    """Two stacks with a key each, started at the same moment, as two lines of a crontab are."""
    if NGINX is None:
        pytest.skip("nginx is not installed: sudo apt install -y nginx-light")
    made = Checkout(tmp_path_factory.mktemp("a")), Checkout(tmp_path_factory.mktemp("b"))
    for checkout in made:
        (checkout.folder / ".env").write_text(f"API_KEYS=me:key-for-{checkout.port}\n")
    starting = [checkout.begin("start") for checkout in made]
    try:
        said = [process.communicate(timeout=110) for process in starting]
        assert [process.returncode for process in starting] == [0, 0], said
        yield made
    finally:
        for checkout in made:
            checkout.run("stop")


def chosen(checkout: Checkout) -> set[int]:
    stack = json.loads(checkout.text("run/stack.json"))
    return {stack["http_port"], *stack["backends"], stack["redis"]["port"]}


def test_two_that_start_at_once_share_no_port(both: tuple[Checkout, Checkout]) -> None:
    one, other = both
    assert not chosen(one) & chosen(other)
    assert one.names() == other.names() == ALL


def test_each_answers_with_its_own_backends_only(both: tuple[Checkout, Checkout]) -> None:
    for checkout in both:
        for key in (checkout.port for checkout in both):
            headers = {"Authorization": f"Bearer key-for-{key}"}
            codes = {
                httpx.get(f"{checkout.url}/api/v1/chats", headers=headers, timeout=10).status_code
                for _ in range(6)
            }
            assert codes == ({200} if key == checkout.port else {401})


def test_a_port_whose_backend_is_just_away_stays_taken(both: tuple[Checkout, Checkout]) -> None:
    assert chosen(both[0]) | chosen(both[1]) <= ports.claimed()
    port = both[0].port
    assert port not in ports.free(port, 3)
    assert ports.why_not(port) == "is taken by another stack"


def test_the_stack_of_another_keeps_its_public_port(both: tuple[Checkout, Checkout], tmp_path: Path) -> None:
    third = Checkout(tmp_path)
    refused = third.run("start", HTTP_PORT=str(both[0].port))
    assert refused.returncode == 1
    assert f"Port {both[0].port} is taken" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_an_answer_from_another_process_is_not_ours() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = int(listening.getsockname()[1])
        assert ports.owns(os.getpid(), port)
        assert not ports.owns(os.getppid(), port)
        assert not ports.owns(os.getpid(), free_port())


def test_stacks_choose_one_after_the_other() -> None:
    code = (
        "from deploy.native.ports import one_stack_at_a_time\n"
        "with one_stack_at_a_time(): print('in', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(SystemExit), ports.one_stack_at_a_time(seconds=0.2):
            pass
        holder.stdin.write("\n")
        holder.stdin.flush()
        holder.wait(10)
    with ports.one_stack_at_a_time(seconds=5):
        pass


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"AGENTS_DIR": "/there/is/none"}, "backend-1 does not start: Wrong setting: AGENTS_DIR"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "redis does not start: it does not answer backend-1"),
        ({"PROVIDER": "nonsense"}, "Wrong setting: PROVIDER"),
        ({"TRUSTED_PROXIES": "proxy.example"}, "Wrong setting: TRUSTED_PROXIES"),
    ],
)
def test_who_cannot_start_says_why_in_one_line(tmp_path: Path, settings: dict[str, str], line: str) -> None:
    checkout = Checkout(tmp_path)
    refused = checkout.run("start", **settings)
    assert refused.returncode in (1, 2), refused.stdout
    assert refused.stderr.startswith(line)
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "run" / "supervisord.pid").exists()


def test_a_line_of_the_file_is_refused_with_its_number(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    (tmp_path / ".env").write_bytes(b"\xff\xfeA\x00=\x00")
    refused = checkout.run("start")
    assert refused.returncode == 2
    assert refused.stderr == "Wrong setting: .env line 1: not UTF-8; save the file as UTF-8\n"


@pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")
def test_a_file_that_redis_cannot_read_is_told_by_name(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    (tmp_path / "deploy" / "redis.conf").write_text("nonsense yes\n")
    refused = checkout.run("start")
    assert refused.returncode == 1
    assert refused.stderr.startswith("redis does not start: ")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files of another user")
@pytest.mark.parametrize("verb", ["start", "status", "logs", "stop"])
def test_files_of_another_user_are_one_line_and_stay_as_they_are(tmp_path: Path, verb: str) -> None:
    checkout = Checkout(tmp_path)
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 65534, 65534)
    refused = checkout.run(verb)
    assert refused.returncode == 1
    assert refused.stderr.startswith("run/ and data/ belong to nobody")
    assert len(refused.stderr.splitlines()) == 1
    assert list((tmp_path / "run").iterdir()) == []
