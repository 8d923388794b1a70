"""Settings: a wrong one stops the start with one clear line, and what is written about them is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from tests.world.processes import ROOT, clean_environment

WRONG = [
    ("PORT", "eighty"),
    ("PROVIDER", "anthropic"),
    ("OPENAI_BASE_URL", "http://canary:canary@there/v1"),
    ("OPENAI_API_KEY", "canary with a space"),
    ("DISCONNECT_GRACE_SECONDS", "-2"),
    ("API_KEYS", "canary-key-without-a-name"),
    ("API_KEYS", "anna:key"),
    ("API_KEYS", "anna:canary-with-ü"),
    ("API_KEYS", "anna:canary with space"),
    ("API_KEYS", ","),
    ("CORS_ORIGINS", "*"),
    ("CORS_ORIGINS", "https://canary.example/"),
    ("CORS_ORIGINS", "https://good.example,canary.example"),
    ("CORS_ORIGINS", "https://canary.example/path"),
    ("CORS_ORIGINS", "https://*.canary.example"),
    ("ALLOWED_HOSTS", "canary.example:8080"),
    ("ALLOWED_HOSTS", "https://canary.example"),
    ("ALLOWED_HOSTS", "good.example,canary.example/"),
    ("ALLOWED_HOSTS", " , "),
    ("TRUSTED_PROXIES", "127.0.0.1 canary"),
    ("HTTP_BIND", "canary.example"),
    ("REDIS_URL", "http://canary-password@redis"),
    ("MEMORY_MAX_TURNS", "0"),
    ("LOG_LEVEL", "LOUD"),
    ("SHUTDOWN_GRACE_SECONDS", "inf"),
    ("MEMORY_TTL_MIN", "99999999999999999999"),
    ("AGENTS_DIR", "/there/is/no/such/folder"),
]


def run(*words: str, cwd: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    environment = {**clean_environment(), "PYTHONPATH": str(ROOT), **env}
    command = [sys.executable, "-m", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_stops_the_start_with_one_line(tmp_path: Path, name: str, value: str) -> None:
    ended = run("app", cwd=tmp_path, **{name: value})
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    assert name in line
    assert "canary" not in line


def test_every_number_has_a_least_and_a_largest_value() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in {int, float, int | None}:
            bounds = {end for one in field.metadata for end in ("ge", "gt", "le", "lt") if hasattr(one, end)}
            assert bounds & {"ge", "gt"}, name
            assert bounds & {"le", "lt"}, name


def test_a_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=wrong\n")
    assert run("app", cwd=tmp_path).returncode == 2
    assert "PROVIDER" in run("app", cwd=tmp_path, PORT="8000", PROVIDER="wrong").stderr


def test_the_example_file_and_the_readme_table_are_generated(tmp_path: Path) -> None:
    assert (
        run("app.doctor.listing", "env", cwd=tmp_path).stdout.strip()
        == (ROOT / ".env.example").read_text().strip()
    )
    assert run("app.doctor.listing", "table", cwd=tmp_path).stdout.strip() in (ROOT / "README.md").read_text()


def test_every_setting_has_one_line_of_meaning(tmp_path: Path) -> None:
    lines = run("app.doctor.listing", "env", cwd=tmp_path).stdout.splitlines()
    names = [re.match(r"# ([A-Z_]+)=", line) for line in lines]
    assert sum(name is not None for name in names) > 40
    for place, name in enumerate(names):
        if name:
            assert re.match(r"# \S+ \S+", lines[place - 1]), f"{name[1]} is not explained"


def test_nothing_but_the_settings_reads_the_environment() -> None:
    for path in (ROOT / "app").rglob("*.py"):
        if path.name not in {"envfile.py", "machine.py"}:
            assert not re.search(r"os\.environ|getenv", path.read_text()), path
    assert "os.environ" in (ROOT / "app" / "envfile.py").read_text()
