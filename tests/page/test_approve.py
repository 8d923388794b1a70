"""A tool that waits for a person: shown with its input, answered by pointer or key, also after a reload."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from tests.page.person import Person, people
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall

SUM = Reply(tool=ToolCall("calculate", {"expression": "6*7"}), tokens=["it is so"])


@pytest.fixture
async def person(browser: Browser, the_careful: Cluster, ollama: FakeOllama) -> AsyncIterator[Person]:
    ollama.default = SUM
    async with people(browser, the_careful.port) as person:
        yield person


async def asked(person: Person, chat_id: str, text: str = "What is 6*7?") -> None:
    await person.open(chat_id)
    await person.page.click("#agent")
    await person.page.locator("#agents").get_by_role("radio", name="careful").check()
    await person.page.keyboard.press("Escape")
    await person.ask(text)
    await expect(person.page.get_by_role("group", name="May calculate be used?")).to_be_visible()


async def test_a_tool_is_used_when_it_was_allowed(person: Person, chat_id: str) -> None:
    await asked(person, chat_id)
    await person.hears("May calculate be used?")
    await expect(person.last.locator(".steps summary")).to_contain_text("Wants to use calculate")
    await expect(person.last.get_by_label("Input")).to_contain_text("6*7")
    await person.page.reload()
    allow = person.page.get_by_role("button", name="Allow once")
    await expect(allow).to_be_visible()
    await allow.focus()
    await person.page.keyboard.press("Enter")
    await person.sees("it is so")
    await person.state("idle")
    await expect(allow).to_have_count(0)
    await expect(person.box).to_be_focused()
    await person.ask("And once more?")
    await expect(allow).to_be_visible()
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await expect(allow).to_have_count(0)


async def test_a_tool_that_is_refused_is_not_used(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    await asked(person, chat_id)
    await person.page.get_by_role("button", name="Refuse").click()
    await person.sees("it is so")
    await person.state("idle")
    assert "refused" in str(ollama.exchanges[-1].body["messages"][-1]["content"])
    await person.last.locator(".steps summary").click()
    await expect(person.last.locator(".step-head")).to_contain_text("failed")


async def test_allowed_in_this_chat_is_not_asked_again(person: Person, chat_id: str) -> None:
    await asked(person, chat_id)
    await person.page.get_by_role("button", name="Allow in this chat").click()
    await person.sees("it is so")
    await person.state("idle")
    await person.ask("And once more?")
    await expect(person.replies).to_have_count(2)
    await person.sees("it is so")
    await person.state("idle")
    await asked(person, f"{chat_id}-other")


async def test_what_was_allowed_in_a_chat_is_shown_and_taken_back(
    person: Person, chat_id: str, the_careful: Cluster
) -> None:
    await asked(person, chat_id)
    await person.page.get_by_role("button", name="Allow in this chat").click()
    await person.sees("it is so")
    await person.state("idle")
    await person.page.click("#about")
    answers = person.page.locator("#about-answers")
    await expect(answers.get_by_role("listitem")).to_contain_text("calculate is used without asking")
    await answers.get_by_role("button", name="Ask again about calculate").focus()
    await person.page.keyboard.press("Enter")
    await expect(answers.get_by_role("status")).to_have_text("calculate asks again from now on.")
    await expect(answers.get_by_role("listitem")).to_have_count(0)
    assert await person.value("document.activeElement.closest('dialog')?.id") == "about-chat"
    await person.page.keyboard.press("Escape")
    await person.ask("And once more?")
    await expect(person.page.get_by_role("group", name="May calculate be used?")).to_be_visible()
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await person.page.click("#about")
    await expect(answers).to_be_hidden()


async def test_who_answers_second_is_told_nothing_wrong(
    person: Person, chat_id: str, the_careful: Cluster
) -> None:
    await asked(person, chat_id)
    async with the_careful.client() as client:
        call = (await client.chat_info(chat_id))["run"]["asked"][0]["tool_use_id"]
        body = {"tool_use_id": call, "approve": False}
        assert (await client.http.post(f"/api/v1/chat/{chat_id}/approve", json=body)).status_code == 200
    await expect(person.page.get_by_role("group", name="May calculate be used?")).to_have_count(0)
    await person.sees("it is so")


async def test_the_tab_says_that_somebody_is_asked(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    await person.value("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    await person.page.evaluate("localStorage.setItem('chat.agent', 'careful')")
    await person.page.reload()
    await person.value("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    await person.ask("What is 6*7?")
    await expect(person.page).to_have_title(re.compile(r"^\? "))
    await person.page.keyboard.press("Escape")
    await person.state("idle")
