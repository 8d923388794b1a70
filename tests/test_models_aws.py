"""AWS as people have set it up: what is wrong is told in a sentence, at once, and what changes is taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.agents.answer import Answerer
from app.errors import ModelFailure
from app.settings import Settings
from tests.world.cluster import Cluster
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.reply import Reply
from tests.world.waiting import eventually

KEY = "[default]\naws_access_key_id = AKIAFIRSTFIRSTFIRST\naws_secret_access_key = first\n"
SSO = "sso_account_id = 1\nsso_role_name = r\nregion = eu-central-1\n"
SESSION = "[sso-session s]\nsso_region = eu-central-1\nsso_start_url = https://x.awsapps.com/start\n"


class Heard:
    """A run that keeps the text."""

    run_id = chat_id = "heard"

    def __init__(self) -> None:
        self.said = ""

    def text(self, text: str) -> None:
        self.said += text

    def _take(self, *_: Any) -> None: ...

    asked = busy = alive = reasoning = aside = tool = used = phase = _take


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bedrock: FakeBedrock) -> Path:
    """A home folder of somebody with nothing of AWS, and the fake Bedrock behind."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock.url)
    (tmp_path / ".aws").mkdir()
    return tmp_path / ".aws"


@asynccontextmanager
async def answering() -> AsyncIterator[Answerer]:
    async with Answerer(Settings.model_validate({"provider": "bedrock"})) as answerer:
        yield answerer


async def ask(answerer: Answerer) -> str:
    run = Heard()
    await answerer.answer("poet", [("user", "hello")], run)
    return run.said


WRONG: dict[str, tuple[dict[str, str], dict[str, str], str, str]] = {
    # environment, files, code, words of the sentence
    "no credentials": ({}, {}, "model_auth", "aws configure"),
    "a profile that is not there": ({"AWS_PROFILE": "nobody"}, {"config": KEY}, "model_setup", "AWS_PROFILE"),
    "half a key pair": ({"AWS_ACCESS_KEY_ID": "AKIAX"}, {}, "model_auth", "Half"),
    "half a key pair in a file": (
        {},
        {"credentials": "[default]\naws_access_key_id = AKIAX\n"},
        "model_auth",
        "Half",
    ),
    "a broken file": ({}, {"config": "[default\nregion"}, "model_setup", "cannot be read"),
    "a file of bytes": ({}, {"credentials": "[default]\n\x00\udcff"}, "model_setup", "cannot be read"),
    "a sign-in that never was": (
        {"AWS_PROFILE": "p"},
        {"config": f"[profile p]\nsso_session = s\n{SSO}{SESSION}"},
        "model_auth",
        "signed in",
    ),
    "an old sign-in that never was": (
        {"AWS_PROFILE": "p"},
        {"config": f"[profile p]\nsso_start_url = https://x.example\nsso_region = eu-west-1\n{SSO}"},
        "model_auth",
        "signed in",
    ),
    "a profile of aws login": (
        {"AWS_PROFILE": "p"},
        {"config": "[profile p]\nlogin_session = arn:aws:iam::1:user/me\n"},
        "",
        "",
    ),
    "a web identity without its file": (
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"},
        {},
        "model_setup",
        "cannot be read",
    ),
    "a program that is not there": (
        {},
        {"config": "[default]\ncredential_process = /there/is/none\n"},
        "model_setup",
        "cannot be read",
    ),
    "a program that fails": (
        {},
        {"config": "[default]\ncredential_process = false\n"},
        "model_auth",
        "does not give",
    ),
    "a profile that names itself": (
        {"AWS_PROFILE": "p"},
        {"config": "[profile p]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = q\n"},
        "model_setup",
        "cannot be read",
    ),
    "a container that does not answer": (
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/creds"},
        {},
        "model_auth",
        "does not give",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_set_up_is_a_sentence(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    environment, files, code, words = WRONG[name]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    for file, content in files.items():
        (home / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    async with asyncio.timeout(40), answering() as answerer:
        for _ in range(1 if "container" in name else 2):  # a second message is told the same
            with pytest.raises(ModelFailure) as told:
                await ask(answerer)
            assert told.value.code in ({code} if code else {"model_auth", "model_setup"})
            assert words in told.value.detail
            assert not told.value.retry


async def test_credentials_that_come_later_or_change_are_taken(home: Path, bedrock: FakeBedrock) -> None:
    async with answering() as answerer:
        with pytest.raises(ModelFailure, match="aws configure"):
            await ask(answerer)
        (home / "credentials").write_text(KEY)
        assert await ask(answerer) == Reply().text
        (home / "credentials").write_text(KEY.replace("FIRST", "SECOND").replace("first", "second!"))
        assert await ask(answerer) == Reply().text
    first, second = (exchange.headers["Authorization"] for exchange in bedrock.exchanges)
    assert "Credential=AKIAFIRST" in first
    assert "Credential=AKIASECOND" in second


async def test_a_reply_that_runs_outlives_the_change_of_its_credentials(
    home: Path, bedrock: FakeBedrock
) -> None:
    (home / "credentials").write_text(KEY)
    bedrock.script.append(Reply(tokens=20, pace=0.05))
    async with answering() as answerer:
        long = asyncio.create_task(ask(answerer))
        await eventually(lambda: bool(bedrock.exchanges and bedrock.exchanges[0].tokens_sent))
        (home / "credentials").write_text(KEY.replace("FIRST", "SECOND").replace("first", "second!"))
        assert await ask(answerer) == Reply().text
        assert not long.done()
        assert await long == Reply(tokens=20).text


async def test_a_bearer_token_is_enough(
    home: Path, monkeypatch: pytest.MonkeyPatch, bedrock: FakeBedrock
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "canary-bearer")
    async with answering() as answerer:
        assert await ask(answerer) == Reply().text
    assert bedrock.exchanges[0].headers["Authorization"] == "Bearer canary-bearer"


async def test_a_wrong_set_up_does_not_keep_the_service_from_coming_up(
    where: Path, home: Path, redis_url: str, chat_id: str
) -> None:
    env = {"PROVIDER": "bedrock", "AWS_PROFILE": "nobody", "HOME": str(home.parent)}
    async with Cluster(where, redis_url, env=env, backends=1) as cluster, cluster.client() as client:
        stream = await client.ask(chat_id, "hello")
        assert stream.end["error"]["code"] == "model_setup"
        log = cluster.backends[1].output
    assert "Traceback" not in log
    at_start = [
        line for line in log.splitlines() if "AWS_PROFILE names a profile" in line and "WARNING" in line
    ]
    assert len(at_start) == 1
