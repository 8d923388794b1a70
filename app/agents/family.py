"""Who works for whom: every agent that a file names is there, none works for itself, and not too deep."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

MOST_DEPTH = 3  # agents below the one that is asked


class Named(Protocol):
    """An agent's file, as far as this is concerned."""

    @property
    def agents(self) -> list[str]: ...


Agent = TypeVar("Agent", bound=Named)


class Misfit(ValueError):
    """One line that names the file and the key; `names`: the agents that do not fit together."""

    def __init__(self, words: str, names: tuple[str, ...]) -> None:
        super().__init__(words)
        self.names = names


def check_helpers(agents: Mapping[str, Named]) -> None:
    """Raises `Misfit`."""
    for name in agents:
        _descend(agents, (name,))


def fitting(agents: Mapping[str, Agent], before: Mapping[str, Agent]) -> tuple[dict[str, Agent], list[str]]:
    """These agents, where some do not fit together those as they were before; and what is wrong with them."""
    found, mistakes = dict(agents), list[str]()
    while True:
        try:
            check_helpers(found)
        except Misfit as misfit:
            mistakes.append(str(misfit))
            changed = [name for name in misfit.names if _helpers(found, name) != _helpers(before, name)]
            if not changed:
                return dict(before), mistakes
            for name in changed:
                found.pop(name, None)
                found |= {name: before[name]} if name in before else {}
        else:
            return found, mistakes


def _helpers(agents: Mapping[str, Named], name: str) -> list[str] | None:
    return agents[name].agents if name in agents else None


def _descend(agents: Mapping[str, Named], path: tuple[str, ...]) -> None:
    for helper in agents[path[-1]].agents:
        if helper not in agents:
            raise Misfit(f"{path[-1]}: agents: there is no agent {helper!r}", (path[-1], helper))
        if helper in path:
            circle = path[path.index(helper) :]
            raise Misfit(f"{path[-1]}: agents: in a circle: {' > '.join((*path, helper))}", circle)
        if len(path) > MOST_DEPTH:
            told = " > ".join((*path, helper))
            raise Misfit(f"{path[0]}: agents: deeper than {MOST_DEPTH}: {told}", (*path, helper))
        _descend(agents, (*path, helper))
