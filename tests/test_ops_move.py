"""Moving house: a backup while people talk, the same chats elsewhere, and upgrades that may fail."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.world.checkout import ALL, Checkout, wait_until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") is None, reason="nginx is not installed"
    ),
]
FAST = {"DEMO_TOKENS_PER_SECOND": "2000"}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout of git with an upstream beside it, `upstream`."""
    folder = tmp_path_factory.mktemp("house")
    checkout = Checkout(folder / "old")
    git(checkout.folder, "init", "-q", "-b", "main")
    left_alone = ("my agents/", ".venv", "run/", "data/", "backups/", ".env", "__pycache__/")
    (checkout.folder / ".gitignore").write_text("\n".join(left_alone))
    commit(checkout.folder, "This version")
    git(folder, "clone", "-q", "old", "upstream")
    git(checkout.folder, "remote", "add", "origin", str(folder / "upstream"))
    git(checkout.folder, "fetch", "-q")
    git(checkout.folder, "branch", "-q", "--set-upstream-to=origin/main")
    (checkout.folder / ".env").write_text("API_KEYS=me:key-of-the-house\nAGENTS_DIR=my agents\n")
    (checkout.folder / "my agents").mkdir()
    (checkout.folder / "my agents" / "pirate.toml").write_text(
        'description = "Says arr"\nprompt = "You are a pirate."\n'
    )
    started = checkout.make("start", **FAST)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield checkout
    finally:
        checkout.make("stop")


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)


def client(checkout: Checkout) -> httpx.Client:
    headers = {"Authorization": "Bearer key-of-the-house"}
    return httpx.Client(base_url=checkout.url, headers=headers, timeout=30)


def chats(checkout: Checkout, ids: list[str]) -> list[object]:
    with client(checkout) as asking:
        return [asking.get(f"/api/v1/chat/{chat_id}").json()["messages"] for chat_id in ids]


@contextmanager
def talking(checkout: Checkout) -> Iterator[list[str]]:
    """People who chat all the time; how each request ended: a line of the stream, or a refusal."""
    statuses: list[str] = []
    stop = threading.Event()

    def talk(number: int) -> None:
        with client(checkout) as asking:
            while not stop.is_set():
                body = {"message": "hello", "on_busy": "replace"}
                answer = asking.post(f"/api/v1/chat/busy-{number}", json=body)
                statuses.append("" if answer.status_code == 200 else answer.text)
                time.sleep(0.05)  # below the rate that Nginx allows one client

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_backup_under_load_is_every_chat_on_a_fresh_checkout(old: Checkout, tmp_path: Path) -> None:
    ids = [f"kept-{number}" for number in range(5)]
    with client(old) as asking:
        for chat_id in ids:
            assert asking.post(f"/api/v1/chat/{chat_id}", json={"message": "hello"}).status_code == 200
    before = chats(old, ids)
    with talking(old) as statuses:
        made = old.make("backup", f"FILE={tmp_path}/my backup.tar.gz")
        wait_until(lambda: len(statuses) > 0)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "my backup.tar.gz").stat().st_mode & 0o777 == 0o600
    assert set(statuses) == {""}
    fresh = Checkout(tmp_path / "fresh")
    restored = fresh.make("restore", f"FILE={tmp_path}/my backup.tar.gz", **FAST)
    try:
        assert restored.returncode == 0, restored.stdout + restored.stderr
        assert chats(fresh, ids) == before
        assert all(before)
        with client(fresh) as asking:
            assert "pirate" in asking.get("/agents").json()["agents"]
    finally:
        fresh.make("stop")


def test_what_is_no_backup_changes_nothing(old: Checkout, tmp_path: Path) -> None:
    (tmp_path / "nonsense.tar.gz").write_text("nonsense")
    refused = old.make("restore", f"FILE={tmp_path}/nonsense.tar.gz")
    assert refused.returncode != 0
    assert "is no backup of ours" in refused.stderr
    assert old.names() == ALL


def test_an_upgrade_that_does_not_become_healthy_goes_back_without_a_failed_request(old: Checkout) -> None:
    version = git(old.folder, "rev-parse", "HEAD")
    upstream = old.folder.parent / "upstream"
    main = upstream / "app" / "__main__.py"
    text = main.read_text()
    main.write_text(
        text.replace(
            "def serve(settings: Settings) -> None:",
            "def serve(settings: Settings) -> None:\n    sys.exit(3)\n",
        )
    )
    commit(upstream, "Does not start")
    with talking(old) as statuses:
        failed = old.make("upgrade")
    assert failed.returncode != 0
    assert "going back" in failed.stderr
    assert git(old.folder, "rev-parse", "HEAD") == version
    assert set(statuses) == {""}
    assert old.names() == ALL
    main.write_text(text)
    (upstream / "app" / "__init__.py").write_text('"""The app."""\n\n__version__ = "9.9.9"\n')
    commit(upstream, "Starts")
    with talking(old) as statuses:
        upgraded = old.make("upgrade", "TO=main")
    assert upgraded.returncode == 0, upgraded.stdout + upgraded.stderr
    assert set(statuses) == {""}
    answer = old.answer()
    assert answer
    assert answer.json()["version"] == "9.9.9"
    assert "Nothing new" in old.make("upgrade").stdout


def test_an_upgrade_does_not_touch_what_a_person_has_changed(old: Checkout) -> None:
    readme = old.folder / "Makefile"
    text = readme.read_text()
    readme.write_text(text + "# mine\n")
    try:
        assert "git stash" in old.make("upgrade").stderr
        assert readme.read_text().endswith("# mine\n")
    finally:
        readme.write_text(text)
