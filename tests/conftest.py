"""Fixtures for everybody: the models on the wire, Redis, and the whole product in front of them."""

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.model import FakeModel
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.openai import FakeOpenAI
from tests.world.redis_server import choice, ordinary_redis
from tests.world.rough import Rough, rough_cluster
from tests.world.sides import Side

_numbers = itertools.count(1)

FAKE_AWS = {
    "AWS_ACCESS_KEY_ID": "AKIAFAKEFAKEFAKEFAKE",
    "AWS_SECRET_ACCESS_KEY": "canary-aws-secret",
    "AWS_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
FAKE_OPENAI_KEY = "sk-canary-openai-key"


def pytest_report_header() -> str:
    return f"redis: {choice()}"


STACK = {
    "redis_url",
    "the_cluster",
    "the_ollama",
    "the_bedrock",
    "the_openai",
    "browser",
}  # what takes its time
SLOW = ("test_ops", "test_rough", "containers", "page", "real_model")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs no stack, for `make test-quick`."""
    for item in items:
        alone = not STACK & set(getattr(item, "fixturenames", ()))
        known = vars(item.module) if isinstance(item, pytest.Function) else {}
        if (
            alone
            and not known.keys() & {"Cluster", "Rough", "Program"}
            and not any(word in str(item.path) for word in SLOW)
        ):
            item.add_marker("quick")


@pytest.fixture(scope="session")
async def redis_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The Redis for ordinary tests."""
    async with ordinary_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
async def the_ollama() -> AsyncIterator[FakeOllama]:
    async with FakeOllama() as fake:
        yield fake


@pytest.fixture(scope="session")
async def the_bedrock() -> AsyncIterator[FakeBedrock]:
    async with FakeBedrock() as fake:
        yield fake


@pytest.fixture(scope="session")
async def the_openai() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as fake:
        fake.key = FAKE_OPENAI_KEY
        yield fake


@pytest.fixture
def ollama(the_ollama: FakeOllama) -> FakeOllama:
    """The Ollama behind `cluster`, as new."""
    the_ollama.forget()
    return the_ollama


@pytest.fixture
def bedrock(the_bedrock: FakeBedrock) -> FakeBedrock:
    """The Bedrock behind `mixed`, as new."""
    the_bedrock.forget()
    return the_bedrock


@pytest.fixture
def openai(the_openai: FakeOpenAI) -> FakeOpenAI:
    """The OpenAI-compatible server behind `mixed`, as new."""
    the_openai.forget()
    return the_openai


def ollama_env(fake: FakeOllama) -> dict[str, str]:
    return {"PROVIDER": "ollama", "OLLAMA_HOST": fake.url}


def bedrock_env(fake: FakeBedrock) -> dict[str, str]:
    return {"PROVIDER": "bedrock", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": fake.url, **FAKE_AWS}


def openai_env(fake: FakeOpenAI) -> dict[str, str]:
    return {"PROVIDER": "openai", "OPENAI_BASE_URL": f"{fake.url}/v1", "OPENAI_API_KEY": FAKE_OPENAI_KEY}


@pytest.fixture(scope="session")
async def the_cluster(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("cluster"), redis_url, env=ollama_env(the_ollama)) as cluster:
        yield cluster


@pytest.fixture
async def cluster(the_cluster: Cluster, ollama: FakeOllama) -> AsyncIterator[Cluster]:
    """Three backends on the fake Ollama behind Nginx, for tests that break nothing; at rest afterwards."""
    yield the_cluster
    async with the_cluster.client() as client:
        for run in (await client.get("/api/v1/runs"))["runs"]:
            await client.stop(run["chat_id"], wait=5000)


@pytest.fixture(scope="session")
async def below(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    """Two backends below /chat, which break nothing of what `cluster` shares with them."""
    env = {**ollama_env(the_ollama), "BASE_PATH": "/chat", "REDIS_PREFIX": "below:"}
    async with Cluster(tmp_path_factory.mktemp("below"), redis_url, env=env, backends=2) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    """A person who talks through Nginx."""
    async with cluster.client() as client:
        yield client


@pytest.fixture(scope="session")
async def mixed(
    tmp_path_factory: pytest.TempPathFactory,
    redis_url: str,
    the_ollama: FakeOllama,
    the_bedrock: FakeBedrock,
    the_openai: FakeOpenAI,
) -> AsyncIterator[Cluster]:
    """backend-1 on Ollama, backend-2 on Bedrock, backend-3 on the demo model, backend-4 on an
    OpenAI-compatible server.
    """
    where = tmp_path_factory.mktemp("mixed")
    (where / "sleeper.toml").write_text(
        'description = "waits"\nprompt = "Wait."\ntools = ["slow", "calculate"]\n'
    )
    (where / "thinker.toml").write_text(
        'description = "thinks"\nprompt = "Think."\ntools = ["calculate"]\n'
        'models = { bedrock = "eu.anthropic.claude-sonnet-4-6" }\n'
    )
    env_of = {
        1: ollama_env(the_ollama),
        2: bedrock_env(the_bedrock),
        3: {"DEMO_TOKENS_PER_SECOND": "50"},
        4: openai_env(the_openai),
    }
    env = {"AGENTS_DIR": str(where)}
    async with Cluster(
        where, redis_url, env=env, env_of=env_of, backends=4, module="tests.world.with_slow_tool"
    ) as cluster:
        yield cluster


@pytest.fixture(params=["ollama", "bedrock", "openai"])
def side(
    request: pytest.FixtureRequest,
    mixed: Cluster,
    ollama: FakeOllama,
    bedrock: FakeBedrock,
    openai: FakeOpenAI,
) -> Side:
    fakes: dict[str, FakeModel] = {"ollama": ollama, "bedrock": bedrock, "openai": openai}
    return Side(request.param, mixed, fakes[request.param])


@pytest.fixture(scope="session")
async def the_rough(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rough]:
    async with rough_cluster(tmp_path_factory.mktemp("rough")) as rough:
        yield rough


@pytest.fixture
async def rough(the_rough: Rough) -> AsyncIterator[Rough]:
    """Three backends that may be hurt; healed before each test and after it."""
    await the_rough.heal()
    the_rough.ollama.forget()
    yield the_rough
    await the_rough.heal()


@pytest.fixture
def new_chat(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes chat ids nobody has used."""
    return lambda: f"{request.node.originalname[5:60]}-{next(_numbers)}"


@pytest.fixture
def chat_id(new_chat: Callable[[], str]) -> str:
    return new_chat()


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A folder for the logs of one test's own processes."""
    return tmp_path
