"""Fixtures of the page: one browser, a person in front of the cluster, a cluster that plays the demo."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.page.person import SECONDS, Person, firefox, launch, launch_firefox, people
from tests.world.cluster import Cluster

expect.set_options(timeout=SECONDS)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def fox() -> AsyncIterator[Browser]:
    program = firefox()
    if not program:
        pytest.skip("needs Firefox: sudo apt install -y firefox-esr")
    async with async_playwright() as playwright:
        browser = await launch_firefox(playwright, program)
        yield browser
        await browser.close()


@pytest.fixture
async def fox_person(fox: Browser, cluster: Cluster) -> AsyncIterator[Person]:
    """Somebody with Firefox."""
    async with people(fox, cluster.port) as person:
        yield person


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


@pytest.fixture
async def visitor(browser: Browser, the_demo: Cluster) -> AsyncIterator[Person]:
    """Somebody new, in front of the demo."""
    async with people(browser, the_demo.port) as person:
        yield person
