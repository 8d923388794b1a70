"""The file that names MCP servers, as Claude Desktop, VS Code and others write it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

MOST_BYTES = 256 * 1024
MOST_SERVERS = 32
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_KINDS = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamablehttp": "http",
    "sse": "sse",
}


class McpServer(BaseModel):
    """One server: a program that is started, or an address."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: Literal["stdio", "http", "sse"]
    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = Field("", pattern=r"^(https?://[^\s]+)?$")
    headers: dict[str, str] = {}
    disabled: bool = False
    approve: bool = False

    @model_validator(mode="before")
    @classmethod
    def _others_forms(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            raise ValueError("must be an object")
        told = str(given.get("type") or given.get("transport") or ("http" if given.get("url") else "stdio"))
        kind = _KINDS.get(told.lower())
        if kind is None:
            raise ValueError("type is stdio, http or sse")
        needed = "command" if kind == "stdio" else "url"
        if not given.get(needed):
            raise ValueError(f"needs a {needed}")
        return {**given, "kind": kind}


def read_servers(path: str, variables: Mapping[str, str]) -> dict[str, McpServer]:
    """The servers by name, without those that are disabled.

    Raises `ValueError` with one line that names the server and the key; never a value.
    """
    try:
        file = Path(path)
        about = file.stat()
        if about.st_size > MOST_BYTES:
            raise ValueError("is too large")
        if not about.st_nlink:  # mounted by itself into a container
            raise ValueError("was replaced by a new file, which is not seen in here: make restart")
        given = json.loads(file.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError(f"MCP_CONFIG: {path}: nested too deep") from None
    except OSError as error:
        raise ValueError(f"MCP_CONFIG: {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"MCP_CONFIG: {path}: {error}") from None
    named = given.get("mcpServers", given.get("servers")) if isinstance(given, dict) else None
    if not isinstance(named, dict) or len(named) > MOST_SERVERS:
        raise ValueError(f"MCP_CONFIG: {path}: mcpServers must name at most {MOST_SERVERS} servers")
    found = {name: _server(path, name, one, variables) for name, one in named.items()}
    return {name: one for name, one in found.items() if not one.disabled}


def _server(path: str, name: str, given: Any, variables: Mapping[str, str]) -> McpServer:
    if not _NAME.fullmatch(name):
        raise ValueError(f"MCP_CONFIG: {path}: a server's name has 1 to 32 letters, digits, - and _")
    try:
        return McpServer.model_validate(_filled(given, variables))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join([name, *(str(part) for part in first["loc"])])
        raise ValueError(f"MCP_CONFIG: {path}: {key}: {first['msg'].removeprefix('Value error, ')}") from None
    except KeyError as missing:
        raise ValueError(f"MCP_CONFIG: {path}: {name}: {missing.args[0]} is not set") from None


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    """With the values of `${NAME}` and `${NAME:-default}` put in. Raises `KeyError` with a missing name."""
    match value:
        case str():
            return _VARIABLE.sub(lambda found: _variable(found, variables), value)
        case list():
            return [_filled(one, variables) for one in value]
        case dict():
            return {key: _filled(one, variables) for key, one in value.items()}
    return value


def _variable(found: "re.Match[str]", variables: Mapping[str, str]) -> str:
    name, default = found[1], found[2]
    if name in variables:
        return variables[name]
    if default is None:
        raise KeyError(name)
    return str(default)
