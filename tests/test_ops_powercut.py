"""The power-cut drill, briefly: `make powercut` does it fifty times."""

from pathlib import Path

import pytest

from tests.powercut import drill


@pytest.mark.timeout(400)
async def test_what_people_had_is_there_after_everything_was_killed_at_once(tmp_path: Path) -> None:
    figures = await drill(tmp_path, times=2, seed=2)
    assert figures.checked > 0
    assert not figures.wrong
