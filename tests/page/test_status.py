"""Who is at work: what is pressed there stays where it is while the view is read again and again."""

import pytest
from playwright.async_api import expect

from tests.page.person import Person
from tests.world.client import Client
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING

pytestmark = pytest.mark.every_browser


async def test_a_button_that_is_pressed_stays_while_other_runs_end(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    names = [f"{chat_id}-{name}" for name in "abc"]
    async with (
        client.chat(names[0], "hello a") as one,
        client.chat(names[1], "hello b") as two,
        client.chat(names[2], "hello c") as three,
    ):
        for stream in (one, two, three):
            await stream.until_text("word2")
        await person.open(page="status")
        rows = person.page.locator("#status-body .runs tbody tr")
        await expect(rows).to_have_count(3)
        middle = rows.nth(1).get_by_role("button", name="Stop")
        await person.page.evaluate("it => (window.pressed = it)", await middle.element_handle())
        await middle.focus()
        last = str(await rows.nth(2).locator("a").get_attribute("title"))
        first = str(await rows.nth(0).locator("a").get_attribute("title"))
        kept = str(await rows.nth(1).locator("a").get_attribute("title"))
        await middle.hover()
        await person.page.mouse.down()
        await client.stop(last, wait=5000)
        await expect(rows).to_have_count(2)  # read again
        await person.page.mouse.up()
        await expect(person.page.locator("#toast")).to_contain_text("Stopped in")
        await expect(rows).to_have_count(1)
        await expect(rows.locator("a")).to_have_attribute("title", first)
        assert kept != first
        await client.stop(first, wait=5000)
        for stream in (one, two, three):
            assert (await stream.rest()).outcome == "stopped"


async def test_a_row_is_the_same_row_whatever_goes_before_it(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    names = [f"{chat_id}-{name}" for name in "ab"]
    async with client.chat(names[0], "hello a") as one, client.chat(names[1], "hello b") as two:
        for stream in (one, two):
            await stream.until_text("word2")
        await person.open(page="status")
        rows = person.page.locator("#status-body .runs tbody tr")
        await expect(rows).to_have_count(2)
        button = rows.nth(1).get_by_role("button", name="Stop")
        await person.page.evaluate("it => (window.kept = it)", await button.element_handle())
        await button.focus()
        await client.stop(str(await rows.nth(0).locator("a").get_attribute("title")), wait=5000)
        await expect(rows).to_have_count(1)
        assert await person.value("window.kept.isConnected && window.kept === document.activeElement")
        await person.page.keyboard.press("Enter")
        await expect(person.page.locator("#toast")).to_contain_text("Stopped in")
        await expect(rows).to_have_count(0)
        await expect(person.page.locator("#status-title")).to_be_focused()
        for stream in (one, two):
            assert (await stream.rest()).outcome == "stopped"
