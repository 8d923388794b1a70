"""Talking: sending, stopping, what stands under a reply, what screen readers hear."""

import re

from playwright.async_api import expect

from tests.page.person import Person
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, Reply, ToolCall
from tests.world.waiting import eventually

STOPPED = re.compile(r"^Stopped in [\d.]+ ms · ran on backend-[123] · asked through backend-[123]$")


async def test_the_page_is_at_home_on_plain_http(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    assert await person.value("isSecureContext") is False
    assert await person.value("[typeof crypto.randomUUID, typeof navigator.clipboard]") == ["undefined"] * 2
    await person.ask("question 100")
    await person.sees("word4")
    await person.state("idle")


async def test_stop_is_where_send_was_and_ends_the_model(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    await person.open(chat_id)
    await person.ask("question 100")
    await person.state("idle")
    before = await person.button.bounding_box()
    ollama.default = FLOWING
    await person.ask("question 101")
    await expect(person.button).to_have_attribute("aria-label", "Stop")
    assert await person.button.bounding_box() == before
    assert before
    assert (before["width"], before["height"]) == (44, 44)
    await person.sees("word9")
    await person.button.click()
    await expect(person.last.locator(".stopped")).to_have_text(STOPPED)
    await person.state("idle")
    await person.hears("Stopped")
    await expect(person.button).to_have_attribute("aria-label", "Send")
    assert await person.button.bounding_box() == before
    await expect(person.box).to_be_focused()
    await eventually(lambda: ollama.open_streams == 0)


async def test_stop_works_before_the_first_token(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(first_delay=100)
    await person.open(chat_id)
    await person.ask("question 102")
    await expect(person.last.locator(".waiting")).to_be_visible()
    await person.page.keyboard.press("Escape")
    await expect(person.last.locator(".stopped")).to_have_text(STOPPED)
    await person.state("idle")


async def test_the_text_freezes_at_the_click(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = FLOWING
    await person.open(chat_id)
    await person.page.route(
        "**/api/v1/stop/**", lambda route: route.abort()
    )  # the stop is slow to get through
    await person.ask("question 103")
    await person.sees("word9")
    await person.button.click()
    await person.state("stopping")
    frozen = await person.text.inner_text()
    asked = ollama.of("question 103")[0].tokens_sent
    await eventually(lambda: ollama.of("question 103")[0].tokens_sent > asked + 5)
    assert await person.text.inner_text() == frozen
    await expect(person.alert).to_contain_text("The stop did not get through")
    await person.state("running")  # and it says so, and the text goes on
    await person.sees(f"word{asked + 5}")
    await person.page.unroute_all()
    await person.alert.get_by_role("button", name="Stop again").click()
    await expect(person.last.locator(".stopped")).to_have_text(STOPPED)
    await person.state("idle")
    seen = await person.text.inner_text()
    await person.page.reload()
    await expect(person.text).to_have_text(seen.strip())  # what was seen is what is kept


async def test_what_stands_under_a_reply(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    await person.ask("question 104")
    facts = person.last.locator(".facts")
    await expect(facts).to_be_hidden()
    await person.last.get_by_role("button", name="About this reply").click()
    await expect(facts).to_be_visible()
    await expect(facts).to_contain_text(
        re.compile(r"general · qwen\S+ · first token .+ · total .+ · \d+ tokens\s*backend-[123]")
    )
    await person.hears(re.compile(r"^Done, \d+ words$"))
    badge = facts.locator(".badge")
    assert await badge.evaluate("it => getComputedStyle(it).backgroundColor") != "rgba(0, 0, 0, 0)"
    await person.page.click("#settings-open")
    await person.page.get_by_label("Always show the facts").check()
    await person.page.keyboard.press("Escape")
    await person.page.reload()
    await expect(person.last.locator(".facts")).to_be_visible()
    await expect(person.last.locator(".facts")).to_contain_text("tokens")


async def test_three_backends_take_turns(visitor: Person, chat_id: str) -> None:
    await visitor.open(chat_id)
    for _ in range(4):
        await visitor.ask("What is 2 + 2?")
        await expect(visitor.last.locator(".facts")).to_contain_text("total")
        await visitor.state("idle")
    assert len(set(await visitor.page.locator(".badge").all_inner_texts())) > 1


async def test_regenerate_takes_the_place_of_the_reply(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.script.extend([Reply(["one"]), Reply(["two"])])
    await person.open(chat_id)
    await person.ask("question 108")
    await person.sees("one")
    await person.state("idle")
    await person.page.get_by_role("button", name="Write this reply again").click()
    await person.sees("two")
    await person.state("idle")
    await expect(person.questions).to_have_count(1)
    await person.page.reload()
    await expect(person.replies).to_have_count(1)
    await person.sees("two")


async def test_edit_and_send_again_cuts_the_chat_there(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    for text in ("first", "second"):
        await person.ask(text)
        await person.state("idle")
    await person.questions.first.hover()
    await person.questions.first.get_by_role("button", name="Edit and send again").click()
    edit = person.page.get_by_label("Edit your question")
    await expect(edit).to_be_focused()
    await edit.press("Escape")
    await expect(edit).to_have_count(0)
    await person.questions.first.get_by_role("button", name="Edit and send again").click()
    await edit.fill("other")
    await edit.press("Enter")
    await expect(person.questions).to_have_count(1)
    await expect(person.questions).to_contain_text("other")
    await person.sees("word4")
    await person.page.reload()
    await expect(person.questions.locator(".bubble")).to_have_text(["other"])


async def test_tools_and_reasoning_are_folded(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(
        ["It is 4."], thinking=["Let me ", "see."], tool=ToolCall("calculate", {"expression": "2+2"})
    )
    await person.open(chat_id)
    await person.ask("What is 2+2?")
    steps = person.last.locator(".steps")
    await person.sees("It is 4.")
    await person.state("idle")
    await expect(steps.locator("summary")).to_contain_text(re.compile(r"^\d steps"))
    await expect(steps.locator(".tool")).to_be_hidden()
    await steps.locator("summary").click()
    await expect(steps.locator(".tool .step-head")).to_contain_text(re.compile("calculate.*done", re.S))
    await expect(steps.get_by_label("Input")).to_contain_text("2+2")
    await expect(steps.get_by_label("Result")).to_contain_text("4")
    await expect(steps.locator(".reasoning").first).to_have_text("Let me see.")


async def test_the_agent_is_chosen_per_chat(person: Person, chat_id: str, cluster: Cluster) -> None:
    await person.open(chat_id)
    await person.page.click("#agent")
    await person.page.locator("#agents").get_by_role("radio", name="poet").check()
    await person.page.keyboard.press("Escape")
    await person.ask("question 112")
    await expect(person.last.locator(".facts")).to_contain_text("poet · ")
    await person.page.reload()
    await expect(person.page.locator("#agent-name")).to_have_text("poet")
