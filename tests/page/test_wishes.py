"""Instructions and temperature: before the first message of a chat, and later."""

import re

from playwright.async_api import expect

from tests.page.person import Person
from tests.world.client import Client
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply


async def wished(person: Person, words: str, warmth: str = "0.2") -> None:
    """Fills in the dialog of the chat and keeps it."""
    await person.page.locator("#told").click()
    await person.page.get_by_label("Instructions for every reply").fill(words)
    await person.page.get_by_label("Own temperature").check()
    await person.page.get_by_label("Temperature", exact=True).fill(warmth)
    await person.page.get_by_role("button", name="Keep").click()
    await expect(person.page.locator("#told")).to_have_text("With instructions of its own")


async def test_a_new_chat_takes_its_instructions_along_with_the_first_message(
    person: Person, client: Client, ollama: FakeOllama
) -> None:
    await person.page.goto(f"{person.origin}/")
    await expect(person.page.locator("#told")).to_have_text("Give instructions")
    entries = await person.value("history.length")
    await wished(person, "Answer like a pirate.")
    assert await person.value("history.length") == entries
    assert await person.value("location.hash") == "#/"
    await person.page.reload()  # a draft, as the text is
    await expect(person.page.locator("#told")).to_have_text("With instructions of its own")
    await person.page.locator("#told").click()
    await expect(person.page.get_by_label("Instructions for every reply")).to_have_value(
        "Answer like a pirate."
    )
    await person.page.keyboard.press("Escape")
    await person.ask("question 4711")
    await person.sees("word4")
    await person.state("idle")
    body = ollama.of("question 4711")[-1].body
    assert "Answer like a pirate." in str(body["messages"][0])
    assert body["options"]["temperature"] == 0.2
    chat_id = (await person.value("location.hash")).removeprefix("#/chat/")
    info = await client.chat_info(chat_id)
    assert (info["instructions"], info["temperature"]) == ("Answer like a pirate.", 0.2)
    await person.page.click("#new-chat")  # the next one begins without
    await expect(person.page.locator("#told")).to_have_text("Give instructions")


async def test_a_first_message_that_is_refused_keeps_its_instructions(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await person.open(chat_id)
    await wished(person, "Answer like a pirate.")
    ollama.default = Reply(["fine"])
    problem = '{"code": "overloaded", "detail": "Too much at once."}'
    await person.page.route(
        re.compile(r"/chat/[^/]+\?format=json"), lambda route: route.fulfill(status=429, body=problem)
    )
    await person.ask("question 4712")
    await expect(person.alert).to_be_visible()
    await person.page.unroute_all(behavior="wait")
    await person.page.reload()
    await expect(person.box).to_have_value("question 4712")
    await expect(person.page.locator("#told")).to_have_text("With instructions of its own")
    await person.box.press("Enter")
    await person.sees("fine")
    assert (await client.chat_info(chat_id))["instructions"] == "Answer like a pirate."


async def test_a_chat_that_is_there_learns_it_at_once(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await client.ask(chat_id, "hello")
    await person.open(chat_id)
    await expect(person.replies).to_have_count(1)
    await expect(person.page.locator("#told")).to_be_hidden()
    await person.page.click("#about")
    await person.page.get_by_label("Instructions for every reply").fill("Whisper.")
    await person.page.get_by_role("button", name="Keep").click()
    await expect(person.page.locator("#told")).to_be_visible()
    await person.ask("question 4713")
    await person.state("idle")
    assert "Whisper." in str(ollama.of("question 4713")[-1].body["messages"][0])
