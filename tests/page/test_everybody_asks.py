"""What asks, waits or goes along, for everybody: nothing that axe objects to, and no pointer needed."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, expect

from tests.page.axe import nothing_found
from tests.page.person import Person, people
from tests.page.test_attach import picked
from tests.test_approval import two_calls
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.pictures import png

SUM = ToolCall("calculate", {"expression": "6*7"})
Scene = Callable[[Person, FakeOllama, str], Awaitable[None]]


@pytest.fixture
async def asked(browser: Browser, the_careful: Cluster, ollama: FakeOllama) -> AsyncIterator[Person]:
    """Somebody new, in front of agents that ask."""
    ollama.default = Reply(tool=SUM, tokens=["it is so"])
    async with people(browser, the_careful.port) as person:
        yield person


async def ask(person: Person, chat_id: str, agent: str) -> None:
    await person.open(chat_id)
    await person.page.evaluate("name => localStorage.setItem('chat.agent', name)", agent)
    await person.page.reload()
    await expect(person.page.locator("#agent-name")).to_have_text(agent)
    await person.ask("What is 6*7?")


async def permission(person: Person, ollama: FakeOllama, chat_id: str) -> None:
    await ask(person, chat_id, "careful")
    await expect(person.page.get_by_role("button", name="Allow once")).to_be_visible()


async def what_was_allowed(person: Person, ollama: FakeOllama, chat_id: str) -> None:
    await permission(person, ollama, chat_id)
    await person.page.get_by_role("button", name="Allow in this chat").click()
    await person.state("idle")
    await person.page.click("#about")
    await expect(person.page.locator("#answers li")).to_have_count(1)


async def steps_of_another_agent(person: Person, ollama: FakeOllama, chat_id: str) -> None:
    ollama.default = Reply(tool=ToolCall("sums", {"task": "work it out"}), tokens=["all is well"])
    ollama.on("work it out", Reply(tool=SUM, tokens=["it is 42"]))
    await ask(person, chat_id, "boss")
    await person.sees("all is well")
    await person.state("idle")
    await person.last.locator(".steps summary").click()
    await expect(person.last.locator(".tool.inner")).to_be_visible()


async def files(person: Person, ollama: FakeOllama, chat_id: str) -> None:
    ollama.default = Reply(["a door"])
    await person.open(chat_id)
    for text in ("What is this?", ""):
        await picked(person, ("door.png", "image/png", png(40, 30)), ("a.md", "text/markdown", b"# A"))
        if text:
            await person.ask(text)
            await person.state("idle")
    await expect(person.page.locator("#files .file")).to_have_count(2)


async def a_file_on_its_way(person: Person, ollama: FakeOllama, chat_id: str) -> None:
    await person.page.route("**/files", lambda _: None)  # for ever
    await person.open(chat_id)
    text = {"name": "a.md", "mimeType": "text/markdown", "buffer": b"# A"}
    picture = {"name": "door.png", "mimeType": "image/png", "buffer": png(40, 30)}
    await person.page.set_input_files("#pick-file", [picture, text])  # type: ignore[arg-type]
    await expect(person.page.locator("#files .busy")).to_have_count(2)


async def a_file_shown_whole(person: Person, ollama: FakeOllama, chat_id: str) -> None:
    await files(person, ollama, chat_id)
    await person.page.get_by_role("button", name="Show a.md").last.click()
    await expect(person.page.get_by_role("dialog", name="a.md")).to_be_visible()


async def wishes_of_a_new_chat(person: Person, ollama: FakeOllama, chat_id: str) -> None:
    await person.open()
    await person.page.click("#told")
    await expect(person.page.get_by_label("Instructions for every reply")).to_be_visible()


SCENES: list[Scene] = [
    permission,
    what_was_allowed,
    steps_of_another_agent,
    files,
    a_file_on_its_way,
    a_file_shown_whole,
    wishes_of_a_new_chat,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.__name__))
async def test_axe_finds_nothing_where_something_asks(
    scene: Scene, asked: Person, ollama: FakeOllama, chat_id: str
) -> None:
    await scene(asked, ollama, chat_id)
    await nothing_found(asked)
    await asked.page.keyboard.press("Escape")
    await asked.state("idle")


async def reach(person: Person, name: str) -> None:
    """Press Tab until the button of this name has the focus."""
    wanted = person.page.get_by_role("button", name=name, exact=True)
    for _ in range(60):
        await person.page.keyboard.press("Tab")
        if await wanted.evaluate("it => it === document.activeElement"):
            return
    raise AssertionError(f"no way to {name} by Tab")


@pytest.mark.every_browser
@pytest.mark.parametrize("answer", ["Allow once", "Refuse"])
async def test_a_tool_is_answered_with_the_keyboard_alone(answer: str, asked: Person, chat_id: str) -> None:
    await ask(asked, chat_id, "careful")
    await asked.hears("May calculate be used?")
    await asked.page.locator("#skip").focus()
    await reach(asked, answer)
    await asked.page.keyboard.press("Enter")
    await asked.sees("it is so")
    await asked.hears("Done, 3 words")
    await expect(asked.box).to_be_focused()


async def test_the_focus_goes_to_the_next_question(asked: Person, ollama: FakeOllama, chat_id: str) -> None:
    calls = [{"function": {"name": "calculate", "arguments": {"expression": text}}} for text in ("1", "2")]
    ollama.script.append(two_calls(calls))
    ollama.default = Reply(["both"])
    await ask(asked, chat_id, "careful")
    allow = asked.page.get_by_role("button", name="Allow once")
    await expect(allow).to_have_count(2)
    await allow.first.focus()
    await asked.page.keyboard.press("Enter")
    await expect(allow).to_have_count(1)
    await expect(allow).to_be_focused()
    await asked.page.keyboard.press("Enter")
    await asked.sees("both")
    await expect(asked.box).to_be_focused()


async def test_the_focus_is_kept_when_somebody_else_answers(
    asked: Person, chat_id: str, the_careful: Cluster
) -> None:
    await permission(asked, FakeOllama(), chat_id)
    await asked.page.get_by_role("button", name="Refuse").focus()
    async with the_careful.client() as client:
        call = (await client.chat_info(chat_id))["run"]["asked"][0]["tool_use_id"]
        body = {"tool_use_id": call, "approve": True}
        assert (await client.http.post(f"/api/v1/chat/{chat_id}/approve", json=body)).status_code == 200
    await asked.sees("it is so")
    await expect(asked.box).to_be_focused()


@pytest.mark.every_browser
async def test_files_are_taken_out_with_the_keyboard_alone(asked: Person, chat_id: str) -> None:
    await asked.open(chat_id)
    await picked(asked, ("door.png", "image/png", png(40, 30)), ("a.md", "text/markdown", b"# A"))
    await asked.hears(re.compile("(door.png|a.md) goes along"))
    await asked.page.locator("#skip").focus()
    await reach(asked, "Take door.png out")
    await asked.page.keyboard.press("Enter")
    await asked.hears("door.png is taken out")
    await expect(asked.page.get_by_role("button", name="Take a.md out")).to_be_focused()
    await asked.page.keyboard.press("Space")
    await expect(asked.page.locator("#files")).to_be_hidden()
    await expect(asked.box).to_be_focused()
