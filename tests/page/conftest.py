"""Fixtures of the page: a browser, a person in front of the cluster, a cluster that plays the demo.

Every test runs in Chromium, one that is marked `every_browser` in Firefox too. `PAGE_BROWSERS`
(`firefox`, or `chromium,firefox`) names the browsers for all of them; one marked
`chromium_only(why)` runs there alone.
"""

import os
from collections.abc import AsyncIterator

import pytest
from _pytest.mark import ParameterSet
from playwright.async_api import Browser, async_playwright, expect

from tests.conftest import ollama_env
from tests.page.browsers import LAUNCH, program_of
from tests.page.person import SECONDS, Person, people
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama

expect.set_options(timeout=SECONDS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "browser" in metafunc.fixturenames:
        metafunc.parametrize("browser", _browsers(metafunc.definition), indirect=True, scope="session")


def _browsers(test: pytest.Item) -> list[ParameterSet]:
    alone = test.get_closest_marker("chromium_only")
    both = test.get_closest_marker("every_browser") and not alone
    usual = "chromium,firefox" if both else "chromium"
    return [
        pytest.param(name, marks=[pytest.mark.skip(alone.args[0])] if alone and name != "chromium" else [])
        for name in (os.environ.get("PAGE_BROWSERS") or usual).split(",")
    ]


@pytest.fixture(scope="session")
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    if not program_of(request.param):
        pytest.skip(f"needs {request.param}: sudo apt install -y chromium firefox-esr")
    async with async_playwright() as playwright:
        browser = await LAUNCH[request.param](playwright)
        yield browser
        await browser.close()


@pytest.fixture
async def person(browser: Browser, cluster: Cluster) -> AsyncIterator[Person]:
    """Somebody new, in front of the fake Ollama."""
    async with people(browser, cluster.port) as person:
        yield person


@pytest.fixture(scope="session")
async def the_demo(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> AsyncIterator[Cluster]:
    where = tmp_path_factory.mktemp("demo")
    env = {"PROVIDER": "demo", "REDIS_URL": redis_url.removesuffix("/0") + "/1"}
    async with Cluster(where, redis_url, env=env) as cluster:
        yield cluster


CREW = {
    "careful": 'tools = ["calculate"]\napprove = ["calculate"]',
    "sums": 'tools = ["calculate"]',
    "boss": 'agents = ["sums"]',
}


@pytest.fixture(scope="session")
async def the_careful(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    """Where `careful` asks before it calculates, and `boss` lets `sums` do it."""
    where = tmp_path_factory.mktemp("careful")
    for name, keys in CREW.items():
        (where / f"{name}.toml").write_text(f'description = "{name}"\nprompt = "You are {name}."\n{keys}\n')
    env = {**ollama_env(the_ollama), "AGENTS_DIR": str(where), "REDIS_PREFIX": "careful:"}
    async with Cluster(where, redis_url, env=env, backends=2) as cluster:
        yield cluster


@pytest.fixture
async def visitor(browser: Browser, the_demo: Cluster) -> AsyncIterator[Person]:
    """Somebody new, in front of the demo."""
    async with people(browser, the_demo.port) as person:
        yield person
