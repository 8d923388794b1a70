"""What is set and by whom: the shell, else `.env`, else what the running stack was started with.

For the stack without Docker a module; for Docker Compose `python3 deploy/given.py`, which prints the
settings as shell commands. So it needs nothing but Python itself.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app import envfile  # noqa: E402  # a script finds it only now

SHELL, FILE, START = "from the shell", "from .env", "as at the start"
OTHERS = re.compile(r"(AWS|OTEL)_[A-Z0-9_]+(?<!_FILE)(?<!_BUNDLE)")  # what libraries read, but no files
# In a container these have their own values; the rest means nothing to a backend.
NOT_INSIDE = {"HOST", "PORT", "BACKEND_ID", "REDIS_HOST", "AGENTS_DIR", "OLLAMA_HOST", "REDIS_PASSWORD"}
NOT_INSIDE |= {"TOOLS_DIR", "MCP_CONFIG", "HTTP_PORT", "HTTP_BIND", "TRUSTED_PROXIES", "AWS_OWNER"}
LOOPBACK = re.compile(r"^(?:(https?)://)?(127\.\d+\.\d+\.\d+|localhost|0\.0\.0\.0|\[::1?\])(?=[:/]|$)(:\d+)?")


class Setting(NamedTuple):
    """A value and who gave it."""

    value: str
    source: str


def known() -> set[str]:
    """The settings of a backend, as `.env.example` lists them."""
    return set(re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.M))


def gather(
    shell: Mapping[str, str], written: Mapping[str, str], started: Mapping[str, str]
) -> dict[str, Setting]:
    """Every setting with its value; `started` is what the shell gave when the running stack was started."""
    names = known()
    given = {name: Setting(value, START) for name, value in started.items()}
    given.update({name: Setting(value, FILE) for name, value in written.items()})
    said = {name.upper() if name.upper() in names else name: value for name, value in shell.items() if value}
    given.update(
        {name: Setting(said[name], SHELL) for name in said if name in names or OTHERS.fullmatch(name)}
    )
    # a name of another program that both have: the shell wins there too
    given.update({name: Setting(said[name], SHELL) for name in written if name in said})
    return given


def remembered(given: Mapping[str, Setting]) -> dict[str, str]:
    """What a restart must not lose: it stands in no file."""
    return {name: setting.value for name, setting in given.items() if setting.source != FILE}


def changes(before: Mapping[str, Setting], now: Mapping[str, Setting], tell_kept: bool = True) -> list[str]:
    """A line for each setting that is not what it was, without its value."""
    lines = []
    for name in sorted({*before, *now}):
        if name not in now:
            lines.append(f"{name} has its default again")
        elif name not in before or before[name].value != now[name].value:
            lines.append(f"{name} changes ({now[name].source})")
        elif now[name].source == START and name != "HTTP_PORT" and tell_kept:
            lines.append(f"{name} stays {START} (it is in no .env; make stop start forgets it)")
    return lines


def misspelt(names: Iterable[str]) -> list[str]:
    """A line for each name that nobody reads but that is much like one that is read."""
    right = known()
    lines = []
    for name in sorted(set(names) - right):
        near = difflib.get_close_matches(name, right, 1, 0.85)
        if near and not OTHERS.fullmatch(name):
            lines.append(f"{name} in .env is no setting; did you mean {near[0]}?")
    return lines


def load(path: Path) -> dict[str, Setting]:
    """What was saved; nothing when it is not there."""
    try:
        return {name: Setting(*pair) for name, pair in json.loads(path.read_text(encoding="utf-8")).items()}
    except (FileNotFoundError, ValueError):
        return {}


def save_json(path: Path, values: object) -> None:
    """As `save`."""
    save(path, json.dumps(values, indent=1))


def save(path: Path, text: str) -> None:
    """For our eyes only: keys and passwords are in it. Whole or not at all."""
    new = path.with_suffix(".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def for_containers(given: Mapping[str, Setting]) -> dict[str, str]:
    """The values as Compose needs them: what means "this machine" outside is another name inside."""
    values = {name: setting.value for name, setting in given.items()}
    if not values.get("REDIS_HOST"):
        values.pop("REDIS_PORT", None)  # the Redis beside the backends has its own
    if values.get("OLLAMA_HOST"):
        values["OLLAMA_HOST"] = LOOPBACK.sub(_the_machine, values["OLLAMA_HOST"])
    bind, colon, port = values.get("HTTP_PORT", "").rpartition(":")
    if colon and "/" not in bind:
        values["HTTP_PORT"], values["HTTP_BIND"] = port, values.get("HTTP_BIND") or bind
    bind = values.get("HTTP_BIND", "")
    if ":" in bind and not bind.startswith("["):
        values["HTTP_BIND"] = f"[{bind}]"
    return values


def _the_machine(found: re.Match[str]) -> str:
    return f"{found[1] or 'http'}://host.docker.internal{found[3] or ('' if found[1] else ':11434')}"


def override(names: list[str]) -> str:
    """A Compose file that hands these names on, with the values of the shell, where Compose fills nothing
    in.
    """
    listed = ", ".join(name for name in sorted(names))
    services = "".join(f"  backend{number}: *given\n" for number in (1, 2, 3))
    return (
        f"# Made from the shell and .env.\nx-given: &given {{environment: [{listed}]}}\nservices:\n{services}"
    )


def main(run: Path, keep: bool) -> None:
    """Writes the names for Compose and the values for the shell into `run`, and says what changes.

    `keep`: what was given at the start counts too.
    """
    before = load(run / "docker-given.json") if keep else {}
    given = gather(os.environ, envfile.read(".env"), remembered(before))
    values = for_containers(given)
    handed = [name for name in values if name not in NOT_INSIDE and not name.startswith("COMPOSE_")]
    (run / "docker.yml").write_text(override(handed), encoding="utf-8")
    save_json(run / "docker-given.json", given)
    save(run / "docker-exports", "".join(f"export {name}={shlex.quote(values[name])}\n" for name in values))
    for line in changes(before, given) if before else []:
        print(line)


if __name__ == "__main__":
    try:
        if sys.argv[1] == "misspelt":
            print("\n".join(misspelt(envfile.read(".env"))))
        else:
            main(Path(sys.argv[1]), sys.argv[2] == "keep")
    except ValueError as error:
        sys.exit(f"Wrong setting: {error}")
