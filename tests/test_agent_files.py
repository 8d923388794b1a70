"""Agent files: what is right is read, and each mistake is one line that names the file and the key."""

import os
from pathlib import Path

import pytest

from app.agents.catalog import Catalog

GOOD = 'description = "d"\nprompt = "p"\n'
MISTAKES: dict[str, tuple[bytes, str]] = {
    "a tool that is no text": (b"tools = [1]", "tools.0"),
    "tools in a list": (b'tools = [["calculate"]]', "tools.0"),
    "tools as one text": (b'tools = "calculate"', "tools"),
    "tools as a table": (b"tools = { calculate = true }", "tools"),
    "tools as a switch": (b"tools = true", "tools"),
    "an unknown tool": (b'tools = ["calculator"]', "calculator"),
    "models as a number": (b"models = 5", "models"),
    "models as a text": (b'models = "qwen3:4b"', "models"),
    "models as a list": (b"models = [1]", "models"),
    "a provider that is none": (b'models = { olama = "x" }', "olama"),
    "a provider in capitals": (b'models = { Ollama = "x" }', "Ollama"),
    "a model that is a number": (b"models = { ollama = 5 }", "models.ollama"),
    "a model without a name": (b'models = { ollama = " " }', "ollama"),
    "a model in a list": (b'models = { ollama = ["a"] }', "models.ollama"),
    "an unknown key": (b'model = "x"', "model"),
    "a name of its own": (b'name = "x"', "name"),
    "a syntax error": (b"tools = [", "line"),
    "brackets without end": (b"tools = " + b"[" * 5000, "nested too deep"),
    "another encoding": ('x = "ä"'.encode("latin-1"), "utf-8"),
    "a file without end": (b"#" * 300_000, "256 KB"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, mistake: str) -> None:
    line, key = MISTAKES[mistake]
    (tmp_path / "mine.toml").write_bytes(GOOD.encode() + line + b"\n")
    with pytest.raises(ValueError, match=r"mine\.toml: ") as told:
        Catalog(str(tmp_path))
    assert key in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 400


@pytest.mark.parametrize(
    ("content", "key"),
    [('prompt = "p"', "description"), ('description = "d"', "prompt"),
     ('description = 1\nprompt = "p"', "description"), ('description = "d"\nprompt = " "', "prompt")],
)  # fmt: skip
def test_what_is_missing_is_named(tmp_path: Path, content: str, key: str) -> None:
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(ValueError, match=f"mine.toml: {key}: "):
        Catalog(str(tmp_path))


@pytest.mark.parametrize("name", ["Mine.toml", "my agent.toml", "mine (1).toml", "ä.toml"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(GOOD)
    with pytest.raises(ValueError, match="lower-case letters"):
        Catalog(str(tmp_path))


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.toml")
    with pytest.raises(ValueError, match="is no file"):
        Catalog(str(tmp_path))


def test_what_editors_and_systems_write_is_read_or_left_alone(tmp_path: Path) -> None:
    for leftover in (
        "._mine.toml",
        ".#mine.toml",
        "#mine.toml#",
        "~mine.toml",
        "mine.toml~",
        "mine.toml.bak",
    ):
        (tmp_path / leftover).write_bytes(b"\x00\x05\x16\x07 not an agent")
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    (tmp_path / "loud.TOML").write_text(GOOD)
    (tmp_path / "general.toml").write_text('description = "ours"\nprompt = "p"\nmodels = { ollama = "a:1b" }')
    catalog = Catalog(str(tmp_path))
    assert {"mine", "loud", "analyst", "poet"} < {agent.name for agent in catalog}
    assert next(iter(catalog)).name == "general"
    assert catalog.get("general").models == {"ollama": "a:1b"}
