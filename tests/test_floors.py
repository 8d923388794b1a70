"""The table of the oldest versions: it knows old from new, and this checkout stands up to it."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

from app.doctor import floors

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("program", "version", "package", "old"),
    [
        ("nginx", "1.30.7", None, False),
        ("nginx", "1.30.10", None, False),
        ("nginx", "1.30.6", None, True),
        ("nginx", "1.28.3", None, True),
        ("nginx", "1.29.9", None, True),
        ("nginx", "1.31.3", None, True),
        ("nginx", "1.31.9", None, False),
        ("nginx", "1.32.0", None, False),
        ("nginx", "1.22.1", None, True),
        ("nginx", "1.22.1", "1.22.1-9+deb12u11", False),
        ("nginx", "1.22.1", "1.22.1-9+deb12u12", False),
        ("nginx", "1.22.1", "1.22.1-9+deb12u9", True),
        ("nginx", "1.24.0", "1.24.0-2ubuntu7.5", False),
        ("redis", "8.10.1", None, False),
        ("redis", "8.10.0", None, True),
        ("redis", "8.2.1", None, True),
        ("redis", "8.6.6", None, False),
        ("redis", "8.11.0", None, False),
        ("redis", "7.0.15", None, False),
    ],
)
def test_old_is_told_from_new(program: str, version: str, package: str | None, old: bool) -> None:
    assert (floors.behind(program, version, package) is not None) is old


def test_no_locked_package_is_older_than_its_floor() -> None:
    assert floors.locked(tomllib.loads(floors.LOCK.read_text())) == []


def test_an_old_package_and_a_reason_that_no_longer_holds_are_told() -> None:
    lock = {"package": [{"name": "aiohttp", "version": "3.14.3"}, {"name": "mcp", "version": "2.2.0"}]}
    first, second = floors.locked(lock)
    assert "aiohttp 3.14.3 is older than 3.14.4" in first
    assert "mcp need not be held" in second


def test_the_table_has_a_date_and_a_reason_for_what_it_holds() -> None:
    assert isinstance(floors.TABLE["checked"], date)
    assert all(len(reason) > 20 for reason in floors.TABLE["held"].values())


def test_every_place_names_the_same_nginx_of_a_branch_with_a_floor() -> None:
    files = ("docker-compose.yml", "deploy/swarm/stack.yml", "deploy/kubernetes/nginx.yaml")
    found = {
        image for file in files for image in re.findall(r"nginx:([\d.]+)-alpine", (ROOT / file).read_text())
    }
    (branch,) = found
    assert any(floor.startswith(f"{branch}.") for floor in floors.TABLE["nginx"]["branches"])
