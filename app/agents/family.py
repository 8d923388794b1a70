"""Who works for whom: every agent that a file names is there, none works for itself, and not too deep."""

from collections.abc import Mapping
from typing import Protocol

MOST_DEPTH = 3  # agents below the one that is asked


class Named(Protocol):
    """An agent's file, as far as this is concerned."""

    @property
    def agents(self) -> list[str]: ...


def check_helpers(agents: Mapping[str, Named]) -> None:
    """Raises `ValueError` with one line that names the file and the key."""
    for name in agents:
        _descend(agents, (name,))


def _descend(agents: Mapping[str, Named], path: tuple[str, ...]) -> None:
    for helper in agents[path[-1]].agents:
        if helper not in agents:
            raise ValueError(f"{path[-1]}: agents: there is no agent {helper!r}")
        if helper in path:
            raise ValueError(f"{path[-1]}: agents: in a circle: {' > '.join((*path, helper))}")
        if len(path) > MOST_DEPTH:
            raise ValueError(f"{path[0]}: agents: deeper than {MOST_DEPTH}: {' > '.join((*path, helper))}")
        _descend(agents, (*path, helper))
