"""Hands on buttons and keys: nothing is sent, stopped or lost that was not meant."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.page.person import Person, another_tab, people
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply

pytestmark = pytest.mark.every_browser

TABLET = {"viewport": {"width": 1024, "height": 768}, "has_touch": True, "is_mobile": True}
# the click comes by the page's own clock, so that a busy machine cannot make it late
TAP_WHEN_OVER = """
([ms, isStopped]) => new Promise((resolve) => {
  const button = document.getElementById("send");
  new MutationObserver((_, watcher) => {
    if (button.className === "stop") return;
    watcher.disconnect();
    setTimeout(() => { button.click(); resolve(); }, ms);
  }).observe(button, { attributes: true });
  if (isStopped) button.click();
})
"""


@pytest.mark.parametrize("ms", [0, 60, 250, 400])
async def test_a_second_tap_on_stop_never_sends(
    ms: int, person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    await person.open(chat_id)
    await person.ask("first")
    await person.sees("word5")
    await person.box.fill("a draft")
    await person.page.evaluate(TAP_WHEN_OVER, [ms, True])
    await person.state("idle")
    await expect(person.box).to_have_value("a draft")
    await expect(person.questions).to_have_count(1)
    await person.button.click()  # and when the pause is over it sends again
    await expect(person.questions).to_have_count(2)


async def test_a_tap_on_stop_that_comes_just_after_the_end_never_sends(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=150, pace=0.02)
    await person.open(chat_id)
    await person.ask("first")
    await person.sees("word5")
    await person.box.fill("a draft")
    await person.page.evaluate(TAP_WHEN_OVER, [60, False])
    await person.state("idle")
    await person.sees("word149")
    await expect(person.box).to_have_value("a draft")
    await expect(person.questions).to_have_count(1)


async def test_a_double_click_on_send_does_not_stop(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(tokens=8, pace=0.05)
    await person.open(chat_id)
    await person.box.fill("hello")
    await person.button.dblclick()
    await person.sees("word7")
    await person.state("idle")
    await expect(person.last.locator(".stopped")).to_have_count(0)


@pytest.mark.chromium_only("Firefox cannot be made a touch screen over WebDriver BiDi")
async def test_ctrl_enter_sends_on_a_tablet_with_a_keyboard(
    browser: Browser, cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    async with people(browser, cluster.port, **TABLET) as person:
        await person.open(chat_id)
        await person.box.fill("one")
        await person.box.press("Enter")
        await expect(person.box).to_have_value("one\n")
        await person.box.press("Control+Enter")
        await person.state("idle")
        await expect(person.questions).to_have_count(1)
        await person.box.fill("two")
        await person.box.press("Meta+Enter")
        await expect(person.questions).to_have_count(2)


async def test_esc_in_the_filter_clears_it_and_stops_nothing(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await person.page.fill("#filter", "apples")
    await person.page.keyboard.press("Escape")
    await expect(person.page.locator("#filter")).to_have_value("")
    await person.page.keyboard.press("Escape")
    await person.state("running")
    await person.box.press("Escape")
    await person.state("idle")


async def test_enter_in_a_filter_without_a_match_opens_nothing(person: Person, client: Client) -> None:
    await client.ask("kept", "hello")
    await person.open("kept")
    await person.page.fill("#filter", "invoices")
    await expect(person.page.locator("#no-chats")).to_have_text("Nothing found.")
    await person.page.keyboard.press("Enter")
    await expect(person.page).to_have_url(re.compile("#/chat/kept$"))


async def test_the_focus_is_kept_after_a_reply_is_written_again(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    await person.page.get_by_role("button", name="Write this reply again").focus()
    await person.page.keyboard.press("Enter")
    await expect(person.box).to_be_focused()
    await person.state("idle")


async def test_what_lies_behind_the_drawer_is_out_of_reach(
    browser: Browser, cluster: Cluster, chat_id: str
) -> None:
    async with people(browser, cluster.port, viewport={"width": 390, "height": 780}) as person:
        await person.open(chat_id)
        await person.page.locator("#menu").focus()
        await person.page.keyboard.press("Enter")
        await expect(person.page.locator("#new-chat")).to_be_focused()
        is_behind = "document.getElementById('chat-page').matches(':focus-within')"
        for _ in range(3):
            await person.page.keyboard.press("Tab")
            assert not await person.value(is_behind)
        for behind in ("box", "agent", "menu"):  # nor by any other way, however long the list is
            await person.value(f"document.getElementById('{behind}').focus()")
            assert not await person.value(is_behind)
        await person.page.keyboard.press("Escape")
        await expect(person.page.locator("#menu")).to_be_focused()
        assert not await person.value("document.getElementById('chat-page').inert")


async def test_a_message_that_is_too_long_is_told_in_human_words(person: Person, chat_id: str) -> None:
    await person.page.route(
        "**/health", lambda route: route.fulfill(json={"provider": "ollama", "message_max_chars": 4000})
    )
    await person.open(chat_id)
    count = person.page.locator("#count")
    await person.box.fill("x" * 100)
    await expect(count).to_be_hidden()
    await person.box.fill("x" * 3900)
    await expect(count).to_have_text("3,900 of 4,000 characters")
    await person.box.fill("🌍" * 4001)
    await expect(count).to_have_text("1 character too many")
    await person.box.press("Enter")
    await expect(person.questions).to_have_count(0)
    assert len(await person.box.input_value()) == 4001


async def test_a_refusal_for_length_says_how_much_fits(person: Person, chat_id: str) -> None:
    await person.page.route("**/health", lambda route: route.fulfill(json={"provider": "ollama"}))
    await person.open(chat_id)
    await person.ask("x" * 4001)
    await expect(person.alert).to_contain_text("too long")
    await expect(person.alert).to_contain_text(re.compile("4,?000 characters"))
    assert "should have" not in await person.alert.inner_text()
    await person.alert.get_by_role("button", name="Change it").click()
    assert len(await person.box.input_value()) == 4001


async def test_the_draft_of_a_new_chat_is_kept_and_leaves_no_trace(person: Person, client: Client) -> None:
    await client.ask("elsewhere", "hello")
    await person.page.goto(f"{person.origin}/")
    await person.box.fill("not yet sent")
    entries = await person.value("history.length")
    for _ in range(3):
        await person.page.click("#new-chat")
    await expect(person.box).to_have_value("not yet sent")
    assert await person.value("history.length") == entries
    await person.open("elsewhere")
    await expect(person.box).to_have_value("")
    await person.page.click("#new-chat")
    await expect(person.box).to_have_value("not yet sent")
    await expect(person.page).to_have_url(re.compile("#/$"))
    tab = await another_tab(person.page.context, int(person.origin.rsplit(":", 1)[1]))
    await tab.page.goto(f"{person.origin}/")
    await expect(tab.box).to_have_value("not yet sent")
    await tab.page.close()
    await person.page.reload()
    await person.box.press("Enter")
    await expect(person.page).to_have_url(re.compile("#/chat/[a-z0-9]{10}$"))
    await person.state("idle")
    await person.page.click("#new-chat")
    await expect(person.box).to_have_value("")
    await person.page.go_back()
    await expect(person.questions).to_have_count(1)


async def test_after_a_stop_nothing_starts_by_itself(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    await person.open(chat_id)
    await person.ask("first")
    await person.sees(HELD_TEXT.strip())
    await person.ask("second")
    await person.box.fill("and more")
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await expect(person.box).to_have_value("second\n\nand more")
    await expect(person.page.locator(".unsent")).to_have_count(0)
    await expect(person.questions).to_have_count(1)
