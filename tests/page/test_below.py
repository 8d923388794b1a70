"""The page below a path of its host (BASE_PATH)."""

import re

from playwright.async_api import Browser, expect

from tests.page.person import people
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama


async def test_a_person_talks_below_it(browser: Browser, below: Cluster, ollama: FakeOllama) -> None:
    async with people(browser, below.port, locale="de-DE") as person:
        await person.page.goto(f"{person.origin}/chat")
        await expect(person.page.locator("html[data-begun]")).to_be_attached()
        await person.ask("hello")
        await person.state("idle")
        await person.sees("word4")
        await person.page.reload()
        await person.sees("word4")
        manifest = await person.value("fetch('/chat/static/manifest.json').then((it) => it.json())")
        assert manifest["start_url"] == "../"
        await expect(person.page.locator("html")).to_have_attribute("lang", "de")
        await person.page.click("#about")
        await expect(person.page.locator("#export-json")).to_have_attribute(
            "href", re.compile("^/chat/api/v1/chat/")
        )
        await person.page.goto(f"{person.origin}/chat/docs")
        await expect(person.page.locator(".opblock").first).to_be_visible()
        await person.page.locator(".opblock-summary", has_text="/health/live").click()
        await person.page.get_by_role("button", name="Try it out").click()
        await person.page.get_by_role("button", name="Execute").click()
        await expect(person.page.locator(".request-url").first).to_contain_text("/chat/health/live")
        assert all(re.match("https?://[^/]+/chat([/?#]|$)", url) for url in person.requests), person.requests
