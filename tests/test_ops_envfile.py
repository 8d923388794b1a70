"""`.env` is read by one set of rules: what a line means, and which lines are refused with their number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import envfile
from tests.world.processes import ROOT, clean_environment

MEANT = [
    (b"A=b", "b"),
    (b"  A = b  ", "b"),
    (b"export A=b", "b"),
    (b"a=b", "b"),
    (b"\xef\xbb\xbfA=b", "b"),
    (b"A=b\r\n", "b"),
    (b"A=8104 # my port", "8104"),
    (b"A=b#c", "b#c"),
    (b"A=#b", "#b"),
    (b"A= # nothing", ""),
    (b"A=", ""),
    (b"A=alice:a$bc1longkey", "alice:a$bc1longkey"),
    (b"A=two words", "two words"),
    (b"A=it's", "it's"),
    (b"A=a=b", "a=b"),
    (b"A='a # $b ${C} \"q\" \\n'", 'a # $b ${C} "q" \\n'),
    (b"A='bedrock' # aws", "bedrock"),
    (b'A="a # $b" # c', "a # $b"),
    (b'A="say \\"hi\\" \\\\ \\${C} \\n"', 'say "hi" \\ ${C} \n'),
    ("A=üñ漢".encode(), "üñ漢"),
    (b"A=first\nA=last", "last"),
    (b"# A=no\n\n\t# B=no\nA=b", "b"),
]
REFUSED = [
    (b"OK=1\nA b", ".env line 2: it must look like NAME=value"),
    (b"OK=1\n\nHTTP-PORT=80", ".env line 3: a name holds"),
    (b"=b", ".env line 1: a name holds"),
    (b"A B=c", ".env line 1: it must look like"),
    (b"A='b", ".env line 1: the quote ' is opened"),
    (b'A="b', '.env line 1: the quote " is opened'),
    (b"A='b'c", ".env line 1: something stands behind"),
    (b"A=${HOME}/agents", ".env line 1: ${"),
    (b'A="${HOME}"', ".env line 1: ${"),
    (b"OK=1\nA=b\x00c", ".env line 2: it holds a character"),
    ("OK=1\nA=caf\u00e9".encode("latin-1"), ".env line 2: not UTF-8"),
    ("A=b".encode("utf-16"), ".env line 1: not UTF-8"),
]


@pytest.mark.parametrize(("written", "value"), MEANT)
def test_a_line_means_what_it_says(tmp_path: Path, written: bytes, value: str) -> None:
    (tmp_path / ".env").write_bytes(written)
    assert envfile.read(str(tmp_path / ".env")) == {"A": value}


@pytest.mark.parametrize(("written", "line"), REFUSED)
def test_a_line_that_cannot_be_meant_is_refused_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bytes, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_bytes(written)
    with pytest.raises(ValueError, match=r"^\.env line \d") as refused:
        envfile.read(".env")
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def settings(folder: Path, name: str, **environment: str) -> str:
    """One setting as a backend sees it, or the line it ends with."""
    code = f"from app.settings import load; print(load().{name})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**clean_environment(), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return (done.stdout or done.stderr).strip()


def test_a_backend_reads_it_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("max_tokens=77 # enough\n")
    assert settings(tmp_path, "max_tokens") == "77"
    assert settings(tmp_path, "max_tokens", MAX_TOKENS="78") == "78"
    assert settings(tmp_path, "max_tokens", MAX_TOKENS="") == "77"
    (tmp_path / ".env").write_text("A='b\n")
    assert settings(tmp_path, "port").startswith("Wrong setting: .env line 1: the quote")


def test_what_other_libraries_read_comes_from_it_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AWS_ACCESS_KEY_ID=AKIAEXAMPLE\n")
    assert settings(tmp_path, "port and __import__('os').environ['AWS_ACCESS_KEY_ID']") == "AKIAEXAMPLE"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").touch(mode=0o000)
    assert settings(tmp_path, "port").startswith("Wrong setting: .env cannot be read")


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("ollama_host", "localhost", "http://localhost:11434"),
        ("ollama_host", "0.0.0.0", "http://127.0.0.1:11434"),
        ("ollama_host", "0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("ollama_host", "[::1]", "http://[::1]:11434"),
        ("ollama_host", "[::]:99", "http://[::1]:99"),
        ("ollama_host", "ollama.example/path", "http://ollama.example:11434/path"),
        ("ollama_host", "https://ollama.example", "https://ollama.example"),
        ("http_port", "127.0.0.1:8104", "8104"),
        ("http_bind", "[::1]", "::1"),
        ("trusted_proxies", "127.0.0.1 10.0.0.0/8", "127.0.0.1/32,10.0.0.0/8"),
        ("trusted_proxies", "127.0.0.1, 10.0.0.1/8,, ::1", "127.0.0.1/32,10.0.0.0/8,::1/128"),
        ("redis_port", "tcp://10.96.0.10:6379", "6379"),
        ("http_port", "tcp://10.96.0.11:80", "80"),
        ("hosts", "", "[]"),
    ],
)
def test_values_as_others_write_them(tmp_path: Path, name: str, written: str, value: str) -> None:
    assert settings(tmp_path, name, **{name.upper(): written}) == value


def test_an_address_before_the_port_is_where_nginx_listens(tmp_path: Path) -> None:
    assert settings(tmp_path, "http_bind", HTTP_PORT="127.0.0.1:8104") == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("ALLOWED_HOSTS", "https://chat.example"),
        ("ALLOWED_HOSTS", "chat.example:8080"),
        ("ALLOWED_HOSTS", "localhost,chat.example/chat"),
        ("TRUSTED_PROXIES", "proxy.example"),
        ("HTTP_BIND", "10.0.0.0/8"),
        ("HTTP_PORT", "eth0:80"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(tmp_path: Path, name: str, written: str) -> None:
    said = settings(tmp_path, "port", **{name: written})
    assert said.startswith("Wrong setting: ")
    assert len(said.splitlines()) == 1
