"""Prints the settings: `python -m app.doctor.listing env` as `.env.example`, `table` for the README."""

import sys

from pydantic import SecretStr

from app.settings import Settings


def _default_text(name: str) -> str:
    value = Settings.model_fields[name].default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if name == "backend_id" or value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _env() -> str:
    lines = ["# Copy to .env and uncomment what you change; every line shows the default."]
    for name, field in Settings.model_fields.items():
        lines += ["", f"# {field.description}", f"# {name.upper()}={_default_text(name)}"]
    return "\n".join(lines)


def _table() -> str:
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = (
            f"`{_default_text(name)}`"
            if _default_text(name)
            else ("the host name" if name == "backend_id" else "")
        )
        lines.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write({"env": _env, "table": _table}[sys.argv[1]]() + "\n")
