"""`make start` takes Docker where it works and says why where it does not."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "deploy" / "chat.sh"
WORKS = 'case "$*" in "compose version --short") echo 2.39.1 ;; version*) echo 28.0.1 ;; esac'


def mode(folder: Path, docker: str | None, **environment: str) -> str:
    """What is chosen in an empty checkout on a machine with this `docker` program, a line of shell."""
    (folder / "deploy").mkdir()
    (folder / "deploy" / "chat.sh").write_text(SCRIPT.read_text())
    programs = folder / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "cat", "id"):
        (programs / name).symlink_to(
            next(Path(p, name) for p in ("/usr/bin", "/bin") if Path(p, name).exists())
        )
    if docker is not None:
        (programs / "docker").write_text(f"#!/bin/sh\n{docker}\n")
        (programs / "docker").chmod(0o755)
    command = [str(programs / "sh"), str(folder / "deploy" / "chat.sh"), "mode"]
    done = subprocess.run(
        command,
        env={"PATH": str(programs), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("docker", "chosen"),
    [
        (WORKS, "docker"),
        (None, "native: no Docker here"),
        ("exit 1", "native: Docker has no Compose v2"),
        (
            'case "$*" in compose*) echo 1.29.2 ;; version*) echo 20.10 ;; esac',
            "native: Docker has no Compose v2",
        ),
        (
            'case "$*" in compose*) echo v2.40.0 ;; *) exit 1 ;; esac',
            "native: the Docker engine does not answer",
        ),
        (
            'case "$*" in compose*) echo 2.40.0 ;; '
            "*) echo permission denied while trying to connect; exit 1 ;; esac",
            "native: you may not use Docker",
        ),
    ],
)
def test_docker_is_taken_where_it_works(tmp_path: Path, docker: str | None, chosen: str) -> None:
    assert mode(tmp_path, docker).startswith(chosen)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_scripts_keep_their_line_ends_in_a_checkout_of_windows(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=me", "-c", "user.email=me@example.org", *words], check=True)

    git("init", "-q", str(tmp_path / "one"))
    for name in ("deploy/chat.sh", ".gitattributes"):
        (tmp_path / "one" / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "one" / name)
    git("-C", str(tmp_path / "one"), "add", "-A")
    git("-C", str(tmp_path / "one"), "commit", "-q", "-m", "all")
    git("-c", "core.autocrlf=true", "clone", "-q", str(tmp_path / "one"), str(tmp_path / "two"))
    assert b"\r" not in (tmp_path / "two" / "deploy" / "chat.sh").read_bytes()


def test_a_person_may_decide(tmp_path: Path) -> None:
    assert mode(tmp_path, WORKS, MODE="native") == "native: MODE=native"


def test_what_runs_without_docker_is_operated_without_docker(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "supervisord.pid").write_text(str(os.getpid()))
    assert mode(tmp_path, WORKS) == "native: it is running"


@pytest.mark.parametrize(("answer", "is_kept"), [("no", True), ("", True), ("yes", False)])
def test_clean_asks_a_person_before_it_deletes_chats(tmp_path: Path, answer: str, *, is_kept: bool) -> None:
    (tmp_path / "deploy" / "native").mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "deploy")
    (tmp_path / "deploy" / "native" / "run.sh").write_text("rm -r data\n")  # in place of what removes all
    (tmp_path / "data").mkdir()
    person, terminal = pty.openpty()
    os.write(person, f"{answer}\n".encode())
    command = ["sh", str(tmp_path / "deploy" / "chat.sh"), "clean"]
    environment = {**os.environ, "MODE": "native"}
    done = subprocess.run(command, stdin=terminal, env=environment, capture_output=True, check=False)
    os.close(person)
    os.close(terminal)
    assert (tmp_path / "data").exists() == is_kept
    assert (done.returncode == 0) != is_kept
