"""Agents from files: one TOML file each, ours and those in `AGENTS_DIR`, where a user's own wins by name."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.agents.tools import TOOLS
from app.errors import UnknownAgent

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KEYS = {"description", "prompt", "tools", "models"}


@dataclass(frozen=True, slots=True)
class AgentFile:
    """One agent: what it is for, how it is told to behave, its tools and, by provider, a model of its own."""

    name: str
    description: str
    prompt: str
    tools: tuple[str, ...] = ()
    models: dict[str, str] = field(default_factory=dict)


class Catalog:
    """The agents by name, `general` first."""

    def __init__(self, agents_dir: str) -> None:
        folders = [Path(__file__).parent, *([Path(agents_dir)] if agents_dir else [])]
        for folder in folders:
            if not folder.is_dir():
                raise ValueError(f"AGENTS_DIR: there is no folder {folder}")
        found = {path.stem: _read(path) for folder in folders for path in sorted(folder.glob("*.toml"))}
        self._agents = dict(sorted(found.items(), key=lambda item: (item[0] != "general", item[0])))

    def __iter__(self) -> Iterator[AgentFile]:
        return iter(self._agents.values())

    def get(self, name: str) -> AgentFile:
        """The agent of this name. Raises `UnknownAgent`."""
        if agent := self._agents.get(name):
            return agent
        raise UnknownAgent("unknown agent")


def _read(path: Path) -> AgentFile:
    """The agent in this file. Raises `ValueError` with one line that says what is wrong with it."""
    if not _NAME.fullmatch(path.stem):
        raise ValueError(f"{path}: an agent's name may hold lower-case letters, digits, - and _")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if unknown := (content.keys() - _KEYS) | (set(content.get("tools", [])) - TOOLS.keys()):
        raise ValueError(f"{path}: unknown key or tool: {', '.join(sorted(unknown))}")
    description, prompt = content.get("description"), content.get("prompt")
    if not (isinstance(description, str) and isinstance(prompt, str) and prompt.strip()):
        raise ValueError(f"{path}: description and prompt must be texts")
    return AgentFile(
        path.stem,
        description,
        prompt.strip(),
        tuple(content.get("tools", [])),
        dict(content.get("models", {})),
    )
