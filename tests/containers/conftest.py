"""One stack for all container tests: a clean checkout, started by make on a free port."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.stack import Stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("CONTAINER_TESTS"):
        return
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason="containers: make test-containers"))


@pytest.fixture(scope="session")
def engine() -> None:
    """Ends the session where no engine answers: make test-containers was asked for."""
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode != 0:
        pytest.exit("No Docker engine answers", returncode=1)


@pytest.fixture(scope="session")
def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("checkout"))
    try:
        made.start()
        yield made
    finally:
        made.client.close()
        made.make("clean", check=False)
