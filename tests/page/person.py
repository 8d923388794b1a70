"""A person at the page: what one sees and does there, and whatever went wrong unseen."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

from tests.page.browsers import LAN, suited
from tests.world.waiting import eventually

SECONDS = 30_000  # milliseconds to wait for something on a busy machine
HARMLESS = ("Cross-Origin-Opener-Policy", "Failed to load resource", "net::ERR")

# a network came or went on this machine, or the page was left: what is missing is tried again
PASSING = ("net::ERR_NETWORK_CHANGED", "net::ERR_ABORTED", "NS_BINDING_ABORTED")

WATCH = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP ${event.effectiveDirective} ${event.blockedURI}`);
});
"""
# files that the page itself makes, of which Firefox tells nothing over WebDriver BiDi
SAVED = """
HTMLAnchorElement.prototype.click = function () {
  globalThis.saved = this.download;
};
"""


class Person:
    """Talks through `page` to the service at `port`."""

    def __init__(self, page: Page, port: int) -> None:
        self.page = page
        self.origin = f"http://{LAN}:{port}"
        self.trouble: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        page.on("requestfailed", self._missed)
        page.on("response", self._answered)
        page.on("request", lambda request: self.requests.append(request.url))
        self.box = page.locator("#box")
        self.button = page.locator("#send")
        self.questions = page.locator(".question:not(.unsent)")
        self.replies = page.locator(".reply")
        self.bar = page.locator("#bar")
        self.alert = page.locator(".trouble:visible")
        self.chats = page.locator("#chats li")

    def _heard(self, message: Any) -> None:
        if message.type in {"error", "warning"} and not any(word in message.text for word in HARMLESS):
            self.trouble.append(f"console: {message.text}")

    def _missed(self, request: Any) -> None:
        if "/static/" in request.url and request.failure not in PASSING:
            self.trouble.append(f"{request.failure}: {request.url}")

    def _answered(self, response: Any) -> None:
        if "/static/" in response.url and response.status >= 400:
            self.trouble.append(f"{response.status}: {response.url}")

    @property
    def foreign_requests(self) -> list[str]:
        return [url for url in self.requests if not url.startswith((f"{self.origin}/", "data:", "blob:"))]

    @property
    def last(self) -> Locator:
        """The newest reply."""
        return self.replies.last

    @property
    def text(self) -> Locator:
        """The text of the newest reply."""
        return self.last.locator(".parts")

    async def open(self, chat_id: str = "", page: str = "") -> None:
        """Go there, and wait until the page has begun."""
        await self.page.goto(f"{self.origin}/#/{page}" if page else f"{self.origin}/#/chat/{chat_id}")
        await expect(self.page.locator("html[data-begun]")).to_be_attached()

    async def ask(self, text: str) -> None:
        """Write and send; on a touch screen Enter would only break the line."""
        await self.box.fill(text)
        if not await self.value("matchMedia('(pointer: coarse)').matches"):
            await self.box.press("Enter")
        elif await self.button.get_attribute("aria-label") == "Send":
            await self.button.click()
        else:
            await self.page.click("#send-too")

    async def sees(self, part: str | re.Pattern[str]) -> None:
        """Wait until the newest reply contains `part`."""
        await expect(self.text).to_contain_text(part)

    async def state(self, name: str) -> None:
        """Wait for a state of the chat: idle, running, stopping, resuming."""
        await expect(self.page.locator("body")).to_have_attribute("data-state", name)

    async def hears(self, words: str | re.Pattern[str]) -> None:
        """Wait for what screen readers are told."""
        await expect(self.page.locator("#said")).to_have_text(words)

    async def saves(self, press: Locator) -> str:
        """The name of the file that a press on this makes."""
        if self.page.context.browser and self.page.context.browser.browser_type.name == "chromium":
            async with self.page.expect_download() as download:
                await press.click()
            return (await download.value).suggested_filename
        await self.value(SAVED)
        await press.click()
        await eventually(lambda: self.value("Boolean(globalThis.saved)"))
        return str(await self.value("globalThis.saved"))

    async def value(self, script: str) -> Any:
        return await self.page.evaluate(script)


@asynccontextmanager
async def people(browser: Browser, port: int, **context: Any) -> AsyncIterator[Person]:
    """One person with a browser profile of their own; afterwards nothing may have gone wrong unseen."""
    wanted = suited(browser, {"viewport": {"width": 1180, "height": 800}, **context})
    async with await browser.new_context(**wanted) as own:
        person = await another_tab(own, port)
        yield person
        assert not person.trouble, person.trouble
        assert not person.foreign_requests, person.foreign_requests


async def another_tab(context: BrowserContext, port: int) -> Person:
    page = await context.new_page()
    page.set_default_timeout(SECONDS)
    await page.add_init_script(WATCH)
    return Person(page, port)
