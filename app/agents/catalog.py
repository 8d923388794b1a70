"""Agents from files: one TOML file each, ours and those in `AGENTS_DIR`, where a user's own wins by name."""

import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator

from app.agents.family import check_helpers, fitting
from app.agents.tools import TOOLS
from app.errors import UnknownAgent
from app.settings import Settings

MOST_BYTES = 256 * 1024
PROVIDERS = [name for name in get_args(Settings.model_fields["provider"].annotation) if name != "demo"]
_CLOSED = "may not be read by the user that the backends run as: chmod -R a+rX its folder"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class AgentFile(BaseModel):
    """One agent: what it is for, how it is told to behave, its tools and, by provider, a model of its own.

    `agents` are others that work for it, as its tools; `approve` names those of all its tools, servers
    and agents that wait for a person, or is true for all of them.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    description: str
    prompt: str
    tools: list[str] = []
    mcp: list[str] = []
    agents: list[str] = []
    approve: bool | list[str] = []
    models: dict[str, str] = {}

    @field_validator("prompt")
    @classmethod
    def _said_wrong(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must say something")
        return value.strip()

    @field_validator("tools")
    @classmethod
    def _known(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if not info.context and (unknown := [name for name in value if name not in TOOLS]):
            raise ValueError(f"unknown tool {unknown[0]!r}; there are {', '.join(TOOLS)}")
        return list(dict.fromkeys(value))

    @field_validator("mcp", "agents")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))

    @field_validator("models")
    @classmethod
    def _named(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := [provider for provider in value if provider not in PROVIDERS]:
            raise ValueError(f"unknown provider {unknown[0]!r}; there are {', '.join(PROVIDERS)}")
        if empty := [provider for provider, model in value.items() if not model.strip()]:
            raise ValueError(f"{empty[0]} names no model")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "AgentFile":
        taken = {name.replace("-", "_") for name in self.tools}
        if twice := [name for name in self.agents if name.replace("-", "_") in taken]:
            raise ValueError(f"agents: {twice[0]!r} is the name of a tool")
        known = {*self.tools, *self.agents, *self.mcp, *(one.split(".")[0] for one in self.mcp)}
        whole = {one for one in self.mcp if "." not in one}
        for name in [] if isinstance(self.approve, bool) else self.approve:
            if name not in known and name.split(".")[0] not in whole:
                raise ValueError(f"approve: {name!r} is no tool, server or agent of this one")
        return self


class Catalog:
    """The agents by name, `general` first. `more_tools`: there are tools besides ours, not known yet.

    Raises `ValueError` with one line that names the file and the key. With the catalog that it takes the
    place of, a file that is wrong, or does not fit to the others, is what it was `before`, and is among
    the `mistakes`.
    """

    def __init__(self, agents_dir: str, more_tools: bool = False, before: "Catalog | None" = None) -> None:
        folders = [Path(__file__).parent, *([Path(agents_dir)] if agents_dir else [])]
        for folder in folders:
            if not folder.is_dir():
                raise ValueError(f"AGENTS_DIR: there is no folder {folder}")
        found: dict[str, AgentFile] = {}
        kept: dict[str, AgentFile] = {} if before is None else before._agents
        self.mistakes: list[str] = []
        for path in [path for folder in folders for path in _files(folder)]:
            try:
                found[path.stem] = _read_file(path, more_tools)
            except ValueError as error:
                if before is None:
                    raise
                self.mistakes.append(str(error))
                if path.stem in kept:
                    found[path.stem] = kept[path.stem]
        if before is None:
            check_helpers(found)
        else:
            found, misfits = fitting(found, kept)
            self.mistakes += misfits
        self._agents: dict[str, AgentFile] = dict(
            sorted(found.items(), key=lambda item: (item[0] != "general", item[0]))
        )

    def __iter__(self) -> Iterator[AgentFile]:
        return iter(self._agents.values())

    def get(self, name: str) -> AgentFile:
        """The agent of this name. Raises `UnknownAgent`."""
        if agent := self._agents.get(name):
            return agent
        raise UnknownAgent("unknown agent")


def _files(folder: Path) -> list[Path]:
    """The agent files here, without what systems and editors leave behind (`._x.toml`, `.#x.toml`)."""
    try:
        found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".toml"]
    except PermissionError:
        raise ValueError(f"AGENTS_DIR: {folder} {_CLOSED}") from None
    return [path for path in found if not path.name.startswith((".", "#", "~"))]


def _read_file(path: Path, more_tools: bool) -> AgentFile:
    if not _NAME.fullmatch(path.stem):
        raise ValueError(f"{path}: an agent's name may hold lower-case letters, digits, - and _")
    content = _content(path)
    if "name" in content:
        raise ValueError(f"{path}: name: the name of the file is the name of the agent")
    try:
        return AgentFile.model_validate({"name": path.stem, **content}, context=more_tools or None)
    except ValidationError as error:
        raise ValueError(f"{path}: {_mistake(error)}") from None


def _content(path: Path) -> dict[str, Any]:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            raise ValueError(f"is no file of at most {MOST_BYTES // 1024} KB")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except PermissionError:
        raise ValueError(f"AGENTS_DIR: {path} {_CLOSED}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deep") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _mistake(error: ValidationError) -> str:
    """The first mistake, with its key."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; there are description, prompt, tools, mcp, agents, approve, models"
    return f"{key}: {first['msg'].removeprefix('Value error, ')}"
