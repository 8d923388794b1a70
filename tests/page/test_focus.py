"""By key alone nobody is lost: when the button that was pressed goes, the focus is where it makes sense."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Locator, Route, expect

from tests.page.person import Person
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply

pytestmark = pytest.mark.every_browser

Deed = Callable[[Person, FakeOllama], Awaitable[Locator]]


async def press(person: Person, name: str) -> None:
    """The newest button of this name, by key."""
    button = person.page.get_by_role("button", name=name, exact=True).last
    await button.focus()
    await person.page.keyboard.press("Enter")


async def the_version_before(person: Person, ollama: FakeOllama) -> Locator:
    await person.ask("hello")
    await person.state("idle")
    await press(person, "Write this reply again")
    await expect(person.page.locator(".count")).to_have_text("2/2")
    await person.state("idle")
    await press(person, "The version before")
    await expect(person.page.locator(".count")).to_have_text("1/2")
    return person.page.get_by_role("button", name="The version after")


async def write_it_again(person: Person, ollama: FakeOllama) -> Locator:
    await person.ask("hello")
    await person.state("idle")
    await press(person, "Write this reply again")
    await expect(person.page.locator(".count")).to_have_text("2/2")
    return person.box


async def leave_the_edit_box(person: Person, ollama: FakeOllama) -> Locator:
    await person.ask("hello")
    await person.state("idle")
    await press(person, "Edit and send again")
    await press(person, "Cancel")
    return person.page.get_by_role("button", name="Edit and send again")


async def go_on(person: Person, ollama: FakeOllama) -> Locator:
    ollama.on("hello", HELD)
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await press(person, "Stop")
    await person.state("idle")
    await press(person, "Continue")
    await person.sees("word4")
    return person.box


async def send_now(person: Person, ollama: FakeOllama) -> Locator:
    ollama.on("first", FLOWING)
    await person.ask("first")
    await person.sees("word9")
    await person.ask("second")
    await press(person, "Send now")
    await expect(person.page.locator(".unsent")).to_have_count(0)
    return person.box


async def take_back(person: Person, ollama: FakeOllama) -> Locator:
    ollama.on("first", FLOWING)
    await person.ask("first")
    await person.sees("word9")
    await person.ask("second")
    await press(person, "Take back")
    await expect(person.page.locator(".unsent")).to_have_count(0)
    return person.box


async def try_again_what_was_refused(person: Person, ollama: FakeOllama) -> Locator:
    starts = re.compile(r"/chat/[^/]+\?format=json")
    problem = '{"code": "overloaded", "detail": "Too much at once."}'
    await person.page.route(starts, lambda route: route.fulfill(status=429, body=problem))
    await person.ask("hello")
    await expect(person.alert).to_be_visible()
    await person.page.unroute_all(behavior="wait")
    await press(person, "Try again")
    await person.sees("word4")
    return person.box


async def stop_again(person: Person, ollama: FakeOllama) -> Locator:
    ollama.default = FLOWING
    await person.page.route("**/api/v1/stop/**", lambda route: route.abort())
    await person.ask("hello")
    await person.sees("word9")
    await press(person, "Stop")
    await expect(person.alert).to_be_visible()
    await person.page.unroute_all(behavior="wait")
    await press(person, "Stop again")
    await expect(person.alert).to_have_count(0)
    return person.box


async def to_the_latest(person: Person, ollama: FakeOllama) -> Locator:
    ollama.default = Reply(["line\n\n"] * 200)
    await person.ask("hello")
    await person.state("idle")
    await expect(person.last.locator(".block")).to_have_count(200)
    await person.page.mouse.move(700, 400)
    await person.page.mouse.wheel(0, -500)
    await expect(person.page.locator("#latest")).to_be_visible()
    await press(person, "Jump to latest")
    await expect(person.page.locator("#latest")).to_be_hidden()
    return person.box


async def read_the_chat_again(person: Person, ollama: FakeOllama) -> Locator:
    await person.ask("hello")
    await person.state("idle")
    await person.page.route("**/api/v1/chat/*", lambda route: route.abort())
    await person.page.reload()
    await expect(person.page.locator("#load-trouble")).to_be_visible()
    await person.page.get_by_role("button", name="Try again", exact=True).last.focus()
    await person.page.unroute_all(behavior="wait")  # from here on the page may also come back by itself
    await person.page.keyboard.press("Enter")
    await person.sees("word4")
    return person.box


async def branch(person: Person, ollama: FakeOllama) -> Locator:
    await person.ask("hello")
    await person.state("idle")
    await press(person, "Branch: a new chat up to here")
    await expect(person.page.locator("#rename")).to_have_text("hello (branch)")
    return person.box


DEEDS: list[Deed] = [
    the_version_before,
    write_it_again,
    leave_the_edit_box,
    go_on,
    send_now,
    take_back,
    try_again_what_was_refused,
    stop_again,
    to_the_latest,
    read_the_chat_again,
    branch,
]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: str(deed.__name__))
async def test_the_focus_is_never_lost(deed: Deed, person: Person, chat_id: str, ollama: FakeOllama) -> None:
    await person.open(chat_id)
    place = await deed(person, ollama)
    await expect(place).to_be_focused()
    await person.box.press("Escape")
    await person.state("idle")


async def test_a_focus_that_was_there_before_its_keeper_is_not_lost(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    may_come = asyncio.Event()

    async def late(route: Route) -> None:
        await may_come.wait()
        await route.continue_()

    await person.page.route("**/view/focus.js*", late)
    await person.page.route("**/api/v1/chat/*", lambda route: route.abort())
    await person.page.reload()
    await expect(person.page.locator("#load-trouble")).to_be_visible()
    await person.page.locator("#load-again").focus()
    async with person.page.expect_response("**/view/focus.js*"):
        may_come.set()
    await person.page.wait_for_load_state("networkidle")
    await person.page.unroute("**/api/v1/chat/*")
    await person.page.keyboard.press("Enter")
    await person.sees("word4")
    await expect(person.box).to_be_focused()


async def test_the_focus_is_taken_from_nobody(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    """Whoever has put a pointer down to mark words reads, and goes on reading."""
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    await press(person, "Write this reply again")
    await person.sees("word4")
    await person.state("idle")
    box = await person.text.bounding_box()
    assert box
    await person.page.mouse.move(box["x"] + 4, box["y"] + 12)
    await person.page.mouse.down()
    await person.page.mouse.move(box["x"] + 120, box["y"] + 14, steps=4)
    await person.page.mouse.up()
    marked = await person.value("getSelection().toString().trim()")
    assert marked
    await person.value("new BroadcastChannel('chat').postMessage('changed')")
    await person.value("fetch('/api/v1/chats').then(() => 0)")
    assert await person.value("getSelection().toString().trim()") == marked
