"""The journeys that matter most, in every browser."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.page.person import Person, people
from tests.page.test_text import RICH
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply, ToolCall
from tests.world.waiting import eventually

pytestmark = pytest.mark.every_browser


async def test_sending_stopping_going_on_and_coming_back(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("hello", HELD)
    ollama.on("Go on", Reply(tokens=["and ", "more"]))
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await person.page.reload()
    await person.sees(HELD_TEXT.strip())
    await person.state("running")
    await person.page.keyboard.press("Escape")
    await expect(person.last.locator(".stopped")).to_contain_text(re.compile("Stopped in .* ms"))
    await person.last.get_by_role("button", name="Continue").click()
    await person.sees(f"{HELD_TEXT}and more")
    await person.state("idle")
    assert await person.value("document.activeElement.id") == "box"


async def test_versions_and_branches(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.script.extend([Reply(["one"]), Reply(["two"])])
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    await person.last.get_by_role("button", name="Write this reply again").click()
    await person.sees("two")
    await expect(person.questions.locator(".count")).to_have_text("2/2")
    await person.page.get_by_role("button", name="The version before").click()
    await person.sees("one")
    await person.last.get_by_role("button", name="Branch").click()
    await expect(person.page.locator("#rename")).to_have_text("hello (branch)")


async def test_what_waits_comes_back_after_a_stop(
    person: Person, chat_id: str, client: Client, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    await person.open(chat_id)
    await person.ask("first")
    await person.sees("word9")
    await person.ask("second")
    await expect(person.page.locator(".unsent .bubble")).to_have_text("second")
    await person.button.click()
    await person.state("idle")
    await expect(person.box).to_have_value("second")
    await eventually(lambda: ollama.open_streams == 0)


async def test_everything_a_model_writes_is_shown(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    text = f"{RICH}\n\n$$x^2$$\n\n<details><summary>More</summary>\n\nhidden\n\n</details>\n"
    tool = ToolCall("calculate", {"expression": "2+2"})
    ollama.default = Reply(re.findall(r"[\s\S]{1,9}", text), thinking=["So."], tool=tool)
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    for part in (".steps", ".code-box", ".hljs-keyword, .hljs-built_in", "table", "math", "details summary"):
        await expect(person.last.locator(part).first).to_be_attached()
    await person.last.locator(".steps summary").first.click()
    await expect(person.last.locator(".tool")).to_contain_text("2+2")


async def test_following_lets_go_at_the_first_movement(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=[f"line {n}\n\n" for n in range(3000)], pace=0.01)
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("line 40")
    await person.page.mouse.move(700, 400)
    await person.page.mouse.wheel(0, -200)
    await expect(person.page.locator("#latest")).to_be_visible()
    await person.page.click("#latest")
    await expect(person.page.locator("#latest")).to_be_hidden()
    await person.page.keyboard.press("Escape")
    await person.state("idle")


async def test_the_list_the_dialogs_and_the_status(
    person: Person, chat_id: str, client: Client, ollama: FakeOllama
) -> None:
    ollama.default = Reply(["A walnut fell."])
    await client.ask(chat_id, "hello")
    await person.open(chat_id)
    await person.page.keyboard.press("Control+k")
    await person.page.keyboard.type("walnut")
    await expect(person.chats.locator("mark").first).to_have_text("walnut")
    await person.page.keyboard.press("Escape")
    await person.page.click("#settings-open")
    await person.page.get_by_label("Dark").check()
    await person.page.keyboard.press("Escape")
    assert await person.value("document.documentElement.classList.contains('dark')")
    await person.page.click("#about")
    await person.page.get_by_role("button", name="Delete this chat").click()
    await person.page.get_by_role("button", name="Undo").click()
    await person.sees("A walnut fell.")
    await person.page.click("#to-status")
    await expect(person.page.locator(".card")).to_have_count(3)


async def test_on_a_small_screen(browser: Browser, cluster: Cluster, chat_id: str) -> None:
    async with people(browser, cluster.port, viewport={"width": 390, "height": 740}) as person:
        await person.open(chat_id)
        await person.ask("hello")
        await person.sees("word4")
        assert await person.value("document.documentElement.scrollWidth <= innerWidth")
        await person.page.click("#menu")
        await expect(person.page.locator("#side")).to_be_in_viewport(ratio=1)
        await person.page.keyboard.press("Escape")
        await expect(person.page.locator("#side")).not_to_be_in_viewport()
