"""What was shown live is there afterwards: after a reload, on another device, in copies and in exports."""

import json
import re

import pytest
from playwright.async_api import Browser, expect

from tests.page.person import Person, people
from tests.page.test_talk import STOPPED
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Exchange, Reply, ToolCall

pytestmark = pytest.mark.every_browser

SUM = ToolCall("calculate", {"expression": "6*7"})
SAID = ("Let me work that out.", "Once more, slowly.", "# The result\n\n1. First")
WHOLE = "\n\n".join(SAID)


def in_pieces(ollama: FakeOllama, exchange: Exchange) -> Reply:
    """A text before the first tool, one between the two, one behind."""
    called = sum(message["role"] == "tool" for message in exchange.body["messages"])
    said = [ollama.token(SAID[called])]
    if called < len(SAID) - 1:
        said += ollama.tool_call(SUM)
    return Reply(raw=[*said, *ollama.closing(Reply(), called == 0)])


async def test_texts_before_and_after_a_tool_stay_apart(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.plays = lambda exchange: in_pieces(ollama, exchange)
    await person.open(chat_id)
    await person.ask("What is 6*7, twice?")
    await person.state("idle")
    await _apart(person)  # as it came
    await person.page.reload()
    await _apart(person)  # as it is kept
    await person.page.click("#about")
    for kind in ("Markdown", "JSON"):
        link = person.page.get_by_role("link", name=kind, exact=True)
        exported = await link.evaluate("it => fetch(it.href).then((answer) => answer.text())")
        text = exported if kind == "Markdown" else json.loads(exported)["messages"][-1]["content"]
        assert re.search(r"work that out\.\n\n(.*\n\n)?Once more, slowly\.\n\n(.*\n\n)?# The", text, re.S), (
            text
        )
    await person.page.keyboard.press("Escape")
    ollama.plays = None
    await person.ask("and then")
    await person.sees("word4")
    read = "\n".join(message.get("content", "") for message in ollama.of("and then")[-1].body["messages"])
    assert "out.Once" not in read
    assert "slowly.#" not in read


async def _apart(person: Person) -> None:
    """On the page and in what is copied."""
    await expect(person.last.locator("h2")).to_have_text("The result")
    await expect(person.last.locator(".text > .block > p")).to_have_text(list(SAID[:2]))
    await expect(person.last.locator("ol > li").last).to_have_text("First")
    await person.last.get_by_role("button", name="Copy reply").click()
    await person.hears("Copied")
    await person.box.fill("")
    await person.box.focus()
    await person.page.keyboard.press("Control+v")
    await expect(person.box).to_have_value(WHOLE)
    await person.box.fill("")
    await person.value("document.getElementById('said').textContent = ''")


async def test_steps_and_how_it_was_stopped_are_there_tomorrow(
    person: Person, browser: Browser, cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    held = Reply(HELD.pieces, thinking=["Brackets ", "first."], tool=SUM, fault="stall", fault_after=3)
    ollama.default = held
    await person.open(chat_id)
    await person.ask("What is 6*7?")
    await person.sees(HELD_TEXT.strip())
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await expect(person.last.locator(".stopped")).to_have_text(STOPPED)
    line = await person.last.locator(".stopped").inner_text()
    await _steps(person, line)
    await person.page.reload()
    await _steps(person, line)
    async with people(browser, cluster.port) as device:
        await device.open(chat_id)
        await _steps(device, line)


async def _steps(person: Person, line: str) -> None:
    await expect(person.last.locator(".stopped")).to_have_text(line)
    fold = person.last.locator(".steps")
    await expect(fold).not_to_have_attribute("open", "")
    await expect(fold.locator("summary")).to_contain_text(re.compile(r"^\d steps"))
    await fold.locator("summary").click()
    await expect(fold.locator(".tool .step-head")).to_contain_text(re.compile("calculate.*done", re.S))
    await expect(fold.get_by_label("Input")).to_contain_text("6*7")
    await expect(fold.get_by_label("Result")).to_contain_text("42")
    await expect(fold.locator(".reasoning").first).to_have_text("Brackets first.")
