"""Operating a checkout with Docker: what is set is what runs, and what is another's is left alone."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.stack import Stack, run

pytestmark = pytest.mark.timeout(400)

PASSWORD = "p $;\"\\x 'y #z"
KEY = "a$bc1#longkey"


@pytest.fixture(scope="module")
def odd(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A checkout made with umask 077, behind a proxy for the outside, set by the shell and by `.env`."""
    made = Stack(tmp_path_factory.mktemp("odd folder"))
    made.environment["COMPOSE_PROJECT_NAME"] = made.project = f"chat-odd-{os.getpid()}"
    client = made.folder / ".docker"
    client.mkdir()
    client.joinpath("config.json").write_text('{"proxies": {"default": {"httpProxy": "http://127.0.0.1:1"}}}')
    plugins = Path.home() / ".docker" / "cli-plugins"
    if plugins.exists():
        (client / "cli-plugins").symlink_to(plugins)
    made.environment["DOCKER_CONFIG"] = str(client)
    made.folder.joinpath(".env").write_bytes(
        b'\xef\xbb\xbfexport max_tokens = 77 # enough\r\nREDIS_PASSWORD="p $;\\"\\\\x \'y #z"\r\n'
        b"AWS_PROFILE='the $one'\r\nMY_TOOL=for a tool\r\nBASE_PATH=/chat\r\n"
    )
    run("chmod", "-R", "go-rwx", str(made.folder))
    made.environment["HTTP_PORT"] = f"127.0.0.1:{made.port}"
    try:
        made.make("start", API_KEYS=f"alice:{KEY}")
        yield made
    finally:
        made.client.close()
        made.make("clean", check=False)


def status(stack: Stack, key: str) -> int:
    return stack.client.get("/api/v1/chats", headers={"Authorization": f"Bearer {key}"}).status_code


def inside(stack: Stack, name: str) -> str:
    return stack.inside("backend2", "printenv", name, check=False).rstrip("\n")


def test_what_the_shell_and_the_file_say_reaches_the_backends_as_it_is(odd: Stack) -> None:
    assert [status(odd, KEY), status(odd, "a"), status(odd, "nobody")] == [200, 401, 401]
    wanted = {
        "MAX_TOKENS": "77",
        "AWS_PROFILE": "the $one",
        "MY_TOOL": "for a tool",
        "REDIS_PASSWORD": PASSWORD,
    }
    assert {name: inside(odd, name) for name in wanted} == wanted
    assert inside(odd, "PORT") == "8000"


def test_it_listens_where_it_was_told_to(odd: Stack) -> None:
    bound = odd.inspect("nginx")["NetworkSettings"]["Ports"]["8080/tcp"]
    assert bound == [{"HostIp": "127.0.0.1", "HostPort": str(odd.port)}]


def test_everything_is_below_its_path_and_at_the_root(odd: Stack) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    for base in ("", "/chat"):
        for path in ("/", "/docs", "/openapi.json", "/health", "/static/main.js", "/api/v1/chats"):
            answer = odd.client.get(base + path, headers=headers)
            assert (answer.status_code, answer.history) == (200, []), base + path
        assert odd.client.get(f"{base}/metrics").status_code == 404
    assert 'href="/chat/static/' in odd.client.get("/chat/").text
    answer = odd.client.post("/chat/api/v1/chat/below", json={"message": "hello"}, headers=headers)
    assert answer.text.strip().endswith("data: [DONE]")
    assert odd.client.get("/api/v1/chat/below", headers=headers).json()["message_count"] == 2
    assert f"{odd.url.replace('127.0.0.1', 'localhost')}/chat" in odd.make("start").stdout
    told = odd.make("doctor", "URL=http://nginx:8080/chat").stdout
    assert "ok    address: http://nginx:8080/chat leads here, to backend-" in told
    assert "BASE_PATH=/ai in .env" in odd.make("doctor", "URL=http://nginx:8080/ai", check=False).stdout


def test_redis_asks_for_the_password(odd: Stack) -> None:
    assert "NOAUTH" in odd.inside("redis", "redis-cli", "ping", check=False)
    assert odd.make("redis").returncode == 0


def test_a_restart_keeps_what_the_shell_gave_and_takes_what_the_file_says_now(odd: Stack) -> None:
    kept = odd.make("restart").stdout
    assert "API_KEYS stays as at the start" in kept
    assert status(odd, KEY) == 200
    with odd.folder.joinpath(".env").open("a") as file:
        file.write("API_KEYS=alice:of$the#file-2 # hers\n")
    changed = odd.make("restart").stdout
    assert "API_KEYS changes (from .env)" in changed
    assert [status(odd, KEY), status(odd, "of$the#file-2")] == [401, 200]
    shell = odd.make("restart", MAX_TOKENS="78").stdout
    assert "MAX_TOKENS changes (from the shell)" in shell
    assert inside(odd, "MAX_TOKENS") == "78"


def test_a_line_that_cannot_be_meant_stops_nothing(odd: Stack) -> None:
    text = odd.folder.joinpath(".env").read_bytes()
    odd.folder.joinpath(".env").write_bytes(text + b"A='b\n")
    refused = odd.make("restart", check=False)
    odd.folder.joinpath(".env").write_bytes(text)
    lines = [line for line in refused.stderr.splitlines() if not line.startswith("make")]
    assert refused.returncode != 0
    assert len(lines) == 1
    assert lines[0].startswith("Wrong setting: .env line 7: the quote")
    assert status(odd, "of$the#file-2") == 200


def test_another_checkout_has_a_project_of_its_own(odd: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path)
    other.environment.pop("COMPOSE_PROJECT_NAME")
    theirs = odd.project
    text = other.folder.joinpath("deploy/docker/parts.sh").read_text()
    other.folder.joinpath("deploy/docker/parts.sh").write_text(text.replace("fastapi-agent-chat", theirs))
    said = other.make("stop")
    assert "Nothing runs" in said.stdout
    assert f"because {theirs} is the one in {odd.folder}" in said.stderr
    name = other.folder.joinpath("run/docker-project").read_text().strip()
    assert name.startswith("chat-")
    assert name != theirs
    assert status(odd, "of$the#file-2") == 200
    other.client.close()


def test_a_backup_is_restored_with_a_word_and_a_torn_file_is_repaired(odd: Stack) -> None:
    headers = {"Authorization": "Bearer of$the#file-2"}
    odd.client.post("/api/v1/chat/kept", json={"message": "hello"}, headers=headers)
    kept = odd.client.get("/api/v1/chat/kept", headers=headers).json()["messages"]
    assert len(kept) == 2
    odd.make("backup", "FILE=my.tar.gz")
    odd.client.delete("/api/v1/chat/kept", headers=headers)
    odd.make("restore", "FILE=my.tar.gz")
    assert odd.client.get("/api/v1/chat/kept", headers=headers).json()["messages"] == kept
    zeros = 'for file in /data/appendonlydir/*.incr.aof; do head -c 4096 /dev/zero >>"$file"; done'
    odd.make("stop")
    volume = ("-v", f"{odd.project}_redis-data:/data", "--user", "999:1000", "--entrypoint", "sh")
    run("docker", "run", "--rm", *volume, "redis:8-alpine", "-c", zeros)
    assert "data: its end was torn" in odd.make("start").stdout
    assert odd.client.get("/api/v1/chat/kept", headers=headers).json()["messages"] == kept


def test_agents_that_cannot_be_read_are_one_line(odd: Stack) -> None:
    mine = odd.folder / "mine"
    mine.mkdir(mode=0o700)
    (mine / "pirate.toml").write_text('description = "Says arr"\nprompt = "You are a pirate."\n')
    refused = odd.make("restart", check=False, AGENTS_DIR="mine")
    lines = [line for line in refused.stderr.splitlines() if not line.startswith("make")]
    assert refused.returncode != 0
    assert len(lines) == 1, lines
    assert lines[0].startswith("Wrong setting: AGENTS_DIR: /agents may not be read")
    assert "chmod" in lines[0]
    shutil.rmtree(mine)
