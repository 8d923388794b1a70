"""WCAG 2.2 AA by axe-core on each view in both themes, and what a screen reader meets."""

import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Browser, expect

from tests.page.axe import nothing_found
from tests.page.person import Person, people
from tests.page.test_text import RICH
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply, ToolCall

Scene = Callable[[Person, FakeOllama, Client], Awaitable[None]]


async def empty(person: Person, ollama: FakeOllama, client: Client) -> None:
    await person.open("axe-empty")
    await expect(person.page.locator("#empty")).to_be_visible()


async def conversation(person: Person, ollama: FakeOllama, client: Client) -> None:
    ollama.default = Reply([RICH], thinking=["So."], tool=ToolCall("calculate", {"expression": "2+2"}))
    await client.ask("axe-conversation", "hello")
    await person.open("axe-conversation")
    await person.ask("again")
    await person.state("idle")
    for folded in await person.page.locator("summary").all():
        await folded.click()
    for facts in await person.page.get_by_role("button", name="About this reply").all():
        await facts.click()
    await expect(person.page.locator(".hljs-keyword").last).to_be_visible()


async def running_with_more(person: Person, ollama: FakeOllama, client: Client) -> None:
    ollama.default = HELD
    await person.open("axe-running")
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await person.ask("more")
    await expect(person.page.get_by_role("button", name="Send now")).to_be_visible()


async def stopped(person: Person, ollama: FakeOllama, client: Client) -> None:
    ollama.default = HELD
    await person.open("axe-stopped")
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await person.page.keyboard.press("Escape")
    await person.state("idle")


async def editing(person: Person, ollama: FakeOllama, client: Client) -> None:
    await stopped(person, ollama, client)
    await person.box.press("ArrowUp")
    await expect(person.page.get_by_label("Edit your question")).to_be_visible()


async def failed(person: Person, ollama: FakeOllama, client: Client) -> None:
    ollama.default = Reply(refuse=True)
    await person.open("axe-failed")
    await person.ask("hello")
    await expect(person.alert).to_be_visible()


async def about(person: Person, ollama: FakeOllama, client: Client) -> None:
    await client.ask("axe-about", "hello")
    await person.open("axe-about")
    await expect(person.last).to_be_visible()
    await person.page.click("#about")


async def keys(person: Person, ollama: FakeOllama, client: Client) -> None:
    await empty(person, ollama, client)
    await person.page.keyboard.press("Control+/")


async def settings(person: Person, ollama: FakeOllama, client: Client) -> None:
    await empty(person, ollama, client)
    await person.page.click("#settings-open")


async def agents(person: Person, ollama: FakeOllama, client: Client) -> None:
    await empty(person, ollama, client)
    await person.page.click("#agent")


async def deleted(person: Person, ollama: FakeOllama, client: Client) -> None:
    await about(person, ollama, client)
    await person.page.click("#about-delete")
    await expect(person.page.locator("#toast")).to_be_visible()


async def search(person: Person, ollama: FakeOllama, client: Client) -> None:
    await client.ask("axe-search", "a walnut")
    await empty(person, ollama, client)
    await person.page.keyboard.press("Control+k")
    await person.page.keyboard.type("walnut")
    await expect(person.page.locator("mark").first).to_be_visible()


async def versions(person: Person, ollama: FakeOllama, client: Client) -> None:
    await person.open("axe-versions")
    await person.ask("hello")
    await person.state("idle")
    await person.last.get_by_role("button", name="Write this reply again").click()
    await expect(person.page.locator(".versions").last).to_be_visible()


async def status(person: Person, ollama: FakeOllama, client: Client) -> None:
    ollama.default = HELD
    await person.open("axe-status")
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await person.open(page="status")
    await expect(person.page.get_by_role("button", name="Stop the run of axe-status")).to_be_visible()


async def drawer(person: Person, ollama: FakeOllama, client: Client) -> None:
    await client.ask("axe-drawer", "hello")
    await person.page.set_viewport_size({"width": 390, "height": 780})
    await person.open("axe-drawer")
    await expect(person.last).to_be_visible()
    await person.page.click("#menu")
    await expect(person.page.locator("#side")).to_be_in_viewport(ratio=1)


async def reconnecting(person: Person, ollama: FakeOllama, client: Client) -> None:
    await person.page.route("**/api/v1/chat/*?format=json", lambda route: route.abort())
    await person.open("axe-reconnecting")
    await person.ask("hello")
    await expect(person.bar).to_be_visible()


async def refused(person: Person, ollama: FakeOllama, client: Client) -> None:
    problem = '{"code": "overloaded", "detail": "Too much at once."}'
    await person.page.route(
        "**/api/v1/chat/*?format=json", lambda route: route.fulfill(status=429, body=problem)
    )
    await person.open("axe-refused")
    await person.ask("hello")
    await expect(person.alert).to_be_visible()


async def gone(person: Person, ollama: FakeOllama, client: Client) -> None:
    await client.ask("axe-gone", "hello")
    await person.open("axe-gone")
    await expect(person.last).to_be_visible()
    await client.http.delete("/api/v1/chat/axe-gone")
    await person.value("new BroadcastChannel('chat').postMessage('changed')")
    await expect(person.page.locator("#gone")).to_be_visible()


async def a_part_is_missing(person: Person, ollama: FakeOllama, client: Client) -> None:
    await empty(person, ollama, client)
    await person.value("pageMissing()")
    await expect(person.page.get_by_role("button", name="Try now")).to_be_visible()


async def not_read(person: Person, ollama: FakeOllama, client: Client) -> None:
    await person.page.route("**/api/v1/chat/*", lambda route: route.abort())
    await person.open("axe-not-read")
    await expect(person.page.locator("#load-trouble")).to_be_visible()


async def too_long(person: Person, ollama: FakeOllama, client: Client) -> None:
    await empty(person, ollama, client)
    await person.box.fill("x" * 1_000_000)
    await expect(person.page.locator("#count.over")).to_be_visible()


async def ask_for_key(person: Person, ollama: FakeOllama, client: Client) -> None:
    await empty(person, ollama, client)
    await person.value("document.getElementById('ask-key').showModal()")


SCENES: list[Scene] = [
    ask_for_key,
    empty,
    conversation,
    running_with_more,
    stopped,
    editing,
    failed,
    about,
    keys,
    settings,
    agents,
    deleted,
    search,
    versions,
    status,
    drawer,
    reconnecting,
    refused,
    gone,
    a_part_is_missing,
    not_read,
    too_long,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.__name__))
async def test_axe_finds_nothing(
    scene: Scene, browser: Browser, cluster: Cluster, client: Client, ollama: FakeOllama
) -> None:
    for row in (await client.get("/api/v1/chats?limit=200"))["chats"]:
        if row["chat_id"].startswith("axe-"):  # of another browser
            await client.http.delete(f"/api/v1/chat/{row['chat_id']}")
    async with people(browser, cluster.port) as person:
        await scene(person, ollama, client)
        await nothing_found(person)


async def test_what_screen_readers_are_told(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = FLOWING
    await person.open(chat_id)
    log = person.page.get_by_role("log")
    await expect(log).to_have_attribute("aria-live", "off")
    await person.ask("hello")
    await person.hears("Answering")
    await person.page.keyboard.press("Escape")
    await person.hears("Stopped")
    ollama.forget()
    await person.ask("again")
    await person.hears(re.compile(r"^Done, 5 words$"))


async def test_everything_can_be_reached_with_the_keyboard(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("word4")
    await person.state("idle")
    await person.page.locator("#skip").focus()
    reached = []
    for _ in range(200):  # two for each chat in the list
        await person.page.keyboard.press("Tab")
        reached.append(
            await person.value(
                "document.activeElement.ariaLabel ?? document.activeElement.textContent.trim()"
            )
        )
        if reached[-1] == "Send":
            break
    for name in (
        "New chat",
        "Search titles and texts",
        "Who is at work",
        "Settings",
        "Copy reply",
        "Message",
        "Send",
    ):
        assert name in reached, reached
    await person.page.keyboard.press("Enter")  # nothing to send: nothing happens
    await expect(person.questions).to_have_count(1)
