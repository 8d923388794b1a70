"""The list at the side, the header, the settings: rows that stay, names that can be read and changed."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from tests.page.person import Person, another_tab, people
from tests.page.sayings import STATIC, sayings
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Reply
from tests.world.waiting import eventually

TITLE = "# **Plan** a `trip` to [Rome](https://x.org)\n> now"


async def test_a_row_stays_the_same_while_the_list_is_read_again(
    person: Person, client: Client, chat_id: str
) -> None:
    for name in ("one", "two", "three"):
        await client.ask(f"{chat_id}-{name}", f"About {name}")
    await person.open()
    row = person.page.locator(f'#chats li[data-id="{chat_id}-two"]')
    await person.page.evaluate("it => (window.row = it)", await row.element_handle())
    await row.locator("a").focus()
    await client.ask(f"{chat_id}-one", "more")  # another row moves to the top
    await person.value("new BroadcastChannel('chat').postMessage('changed')")
    await expect(person.chats.first).to_have_attribute("data-id", f"{chat_id}-one")
    assert await row.evaluate("it => it === window.row && it.isConnected")
    await expect(row.locator("a")).to_be_focused()
    await row.hover()
    await person.page.mouse.down()
    await client.ask(f"{chat_id}-two", "more")  # what is pressed is read again
    await person.value("new BroadcastChannel('chat').postMessage('changed')")
    await expect(person.chats.first).to_have_attribute("data-id", f"{chat_id}-two")
    assert await row.evaluate("it => it === window.row && it.isConnected")
    await person.page.mouse.up()


async def test_titles_are_clean_and_renamed_in_place(person: Person, client: Client, chat_id: str) -> None:
    await client.ask(chat_id, TITLE)
    await person.open(chat_id)
    await expect(person.page.locator("#rename")).to_have_text(re.compile("^Plan a trip to Rome"))
    row = person.page.locator(f'#chats li[data-id="{chat_id}"]')
    await expect(row.locator(".title")).to_have_text(re.compile("^Plan a trip to Rome"))
    await person.page.click("#rename")
    field = person.page.get_by_label("New title")
    await expect(field).to_be_focused()
    await field.fill("Never")
    await field.press("Escape")
    await expect(person.page.locator("#rename")).to_have_text(re.compile("^Plan a trip"))
    await person.page.click("#rename")
    await field.fill("Rome in spring")
    await field.press("Enter")
    await expect(row.locator(".title")).to_have_text("Rome in spring")
    await row.locator("a").focus()
    await person.page.keyboard.press("F2")
    await field.fill("Rome in autumn")
    await field.press("Enter")
    await expect(person.page.locator("#rename")).to_have_text("Rome in autumn")
    await eventually(lambda: _is_titled(client, chat_id, "Rome in autumn"))


async def _is_titled(client: Client, chat_id: str, title: str) -> bool:
    return bool((await client.chat_info(chat_id))["title"] == title)


async def test_chats_stand_in_groups_of_days(person: Person, chat_id: str) -> None:
    now = datetime.now(UTC)

    async def answer(route: Route) -> None:
        ages = {"new": 0, "day": 1, "week": 4, "month": 20, "year": 400}
        chats = [
            {
                "chat_id": name,
                "title": name,
                "status": "active",
                "updated_at": _iso(now - timedelta(days=days)),
            }
            for name, days in ages.items()
        ]
        await route.fulfill(json={"chats": chats, "count": len(chats)})

    await person.page.route("**/api/v1/chats?**", answer)
    await person.open(chat_id)
    days = person.page.locator("#chats .day")
    await expect(days).to_have_count(5)
    assert (await days.all_inner_texts())[:4] == ["Today", "Yesterday", "Last 7 days", "Last 30 days"]


def _iso(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")


async def test_the_list_folds_at_every_width_and_stays_folded(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    await person.page.click("#close-drawer")
    await expect(person.page.locator("#side")).to_be_hidden()
    await person.page.reload()
    await expect(person.page.locator("#side")).to_be_hidden()
    await person.page.keyboard.press("Control+k")
    await expect(person.page.locator("#filter")).to_be_focused()
    await person.page.keyboard.press("Control+Shift+S")
    await expect(person.page.locator("#side")).to_be_hidden()
    await person.page.click("#menu")
    await expect(person.page.locator("#side")).to_be_visible()


async def test_on_a_lying_phone_there_is_room_to_read(
    browser: Browser, cluster: Cluster, chat_id: str
) -> None:
    for size, least in (({"width": 844, "height": 390}, 170), ({"width": 320, "height": 200}, 60)):
        async with people(browser, cluster.port, viewport=size) as person:
            await person.open()
            await expect(person.page.locator("#hello")).to_be_in_viewport()  # from its beginning
            assert await person.value("document.getElementById('chat-page').scrollTop") == 0
            await person.ask("hello")
            await person.state("idle")
            await expect(person.page.locator("#side")).not_to_be_in_viewport()
            await person.box.fill("line\n" * 12)
            assert await person.page.locator("#scroller").evaluate("it => it.clientHeight") >= least


async def test_a_chat_deleted_elsewhere_says_so_and_the_next_question_begins_another(
    person: Person, client: Client, chat_id: str
) -> None:
    await client.ask(chat_id, "hello")
    await person.open(chat_id)
    await expect(person.replies).to_have_count(1)
    await client.http.delete(f"/api/v1/chat/{chat_id}")
    await person.value("new BroadcastChannel('chat').postMessage('changed')")
    await expect(person.page.locator("#gone")).to_be_visible()
    await expect(person.replies).to_have_count(1)  # what was seen stays
    await person.ask("and now")
    await expect(person.page).not_to_have_url(re.compile(f"{chat_id}$"))
    await expect(person.questions).to_have_count(1)
    await person.sees("word4")


async def test_a_link_to_a_chat_that_is_gone_says_so(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    await expect(person.page.locator("#unknown")).to_be_visible()
    await person.page.click("#new-chat")
    await expect(person.page.locator("#unknown")).to_be_hidden()


async def test_all_chats_are_deleted_after_a_second_press(
    person: Person, client: Client, chat_id: str
) -> None:
    for name in "ab":
        await client.ask(f"{chat_id}-{name}", "hello")
    await person.open(f"{chat_id}-a")
    await person.page.click("#settings-open")
    await person.page.click("#delete-all")
    assert (await client.chat_info(f"{chat_id}-a"))["status"] != "new"
    await person.page.click("#delete-all")
    await expect(person.page.locator("#toast")).to_contain_text("deleted")
    await expect(person.chats).to_have_count(0)
    await expect(person.page).to_have_url(re.compile("#/$"))


async def test_the_page_speaks_german(browser: Browser, cluster: Cluster, chat_id: str) -> None:
    async with people(browser, cluster.port, locale="de-DE") as person:
        await person.open(chat_id)
        await expect(person.page.locator("#hello")).to_have_text("Was beschäftigt Sie?")
        await expect(person.box).to_have_attribute("placeholder", "Nachricht schreiben")
        await expect(person.page.locator("html")).to_have_attribute("lang", "de")
        await person.ask("hello")
        await person.hears("Fertig, 5 Wörter")
        await person.page.click("#settings-open")
        await person.page.select_option("#language", "en")
        await expect(person.box).to_have_attribute("placeholder", "Write a message")


def test_every_sentence_is_said_in_every_language() -> None:
    for path in (STATIC / "languages").glob("*.json"):
        said: dict[str, str] = json.loads(path.read_text())
        assert set(said) == sayings(), path
        for key, words in said.items():
            assert set(re.findall(r"\{\w+\}", key)) == set(re.findall(r"\{\w+\}", words)), key
            assert key.count("|") == words.count("|"), key


async def test_the_agents_are_shown_with_what_they_can(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    picker = person.page.locator("#picker")
    await expect(picker).to_contain_text("Answers everything in verse")
    await expect(picker).to_contain_text("Tools: current time, calculate")
    await expect(person.page.locator("#agent-model")).to_have_text(re.compile("[a-z]"))
    await picker.get_by_role("radio", name="poet").check()
    await expect(person.page.locator("#agent-name")).to_have_text("poet")
    box = await person.box.bounding_box()
    assert box
    assert 200 < box["y"] < 500  # in the middle, not at the edge


async def test_text_size_and_theme_are_kept(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    await person.page.click("#settings-open")
    await person.page.get_by_label("Larger").check()
    await person.page.reload()
    assert await person.value("parseFloat(getComputedStyle(document.body).fontSize)") == 21
    await person.page.click("#settings-open")
    await expect(person.page.get_by_label("Larger")).to_be_checked()


async def test_the_tab_tells_of_a_reply_that_is_done_unseen(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=20, pace=0.05)
    await person.open(chat_id)
    await person.ask("hello")
    await person.value(HIDE)
    await expect(person.page).to_have_title(re.compile("^✓ hello"))
    await person.value(SHOW)
    await expect(person.page).to_have_title("hello")


HIDE = "Object.defineProperty(document, 'hidden', { value: true, configurable: true })"
SHOW = "delete document.hidden, document.dispatchEvent(new Event('visibilitychange'))"


async def test_messages_have_times_and_replies_a_quiet_i(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    await expect(person.questions.locator("time")).to_have_attribute("datetime", re.compile(r"^20\d\d-"))
    await expect(person.last.locator("time")).to_be_visible()
    await expect(person.last.locator(".badge")).to_be_hidden()
    await person.last.get_by_role("button", name="About this reply").click()
    await expect(person.last.locator(".badge")).to_be_visible()


async def test_the_badge_is_shown_in_the_demo(visitor: Person, chat_id: str) -> None:
    await visitor.open(chat_id)
    await visitor.ask("What is 2 + 2?")
    await expect(visitor.last.locator(".badge")).to_be_visible()


async def test_code_can_be_downloaded(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(["```python\nprint(1)\n```\n"])
    await person.open(chat_id)
    await person.ask("hello")
    assert await person.saves(person.page.get_by_role("button", name="Download code")) == "code.py"


async def test_a_reply_is_read_aloud(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    await person.page.add_init_script(
        "window.said = []; speechSynthesis.speak = (it) => window.said.push(it.text)"
    )
    ollama.default = Reply(["# Title\n\nSome **bold** words. And more.\n\n```python\nx = 1\n```\n"])
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    button = person.last.get_by_role("button", name="Read aloud")
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "true")
    assert await person.value("window.said") == ["Title", "Some bold words.", "And more."]
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "false")


KEPT: dict[str, Any] = {
    "agent": "general",
    "backend": "backend-2",
    "stop_ms": 12.5,
    "answered_by": "backend-3",
    "left_out": 2,
}


@pytest.mark.chromium_only("Firefox does not show the body of a request over WebDriver BiDi")
async def test_what_the_service_keeps_of_a_reply_is_shown_after_a_reload(
    person: Person, chat_id: str
) -> None:
    parts = [
        {"type": "text", "text": "Let me see."},
        {"type": "reasoning", "text": "Brackets first.", "seconds": 0.7},
        {
            "type": "tool",
            "tool_use_id": "t1",
            "name": "calculate",
            "status": "done",
            "input": {"expression": "2+2"},
            "output": "4",
            "seconds": 0.5,
        },
        {"type": "text", "text": "# The result"},
    ]
    at = "2026-01-02T03:04:05.000Z"
    versions = [{"version": 1, "created_at": "2025-01-02T03:04:05.000Z", "messages": []}]
    messages = [
        {"role": "user", "content": "hello", "run_id": "run-1", "created_at": at, "versions": versions},
        {
            "role": "assistant",
            "content": "Let me see.\n\n# The result",
            "run_id": "run-1",
            "created_at": at,
            "outcome": "stopped",
            "facts": KEPT,
            "parts": parts,
        },
    ]
    chat = {
        "chat_id": chat_id,
        "status": "active",
        "agent": "general",
        "title": "hello",
        "messages": messages,
        "run": None,
        "expires_at": "2030-01-02T03:04:05.000Z",
        "queued": [],
    }
    swapped: list[str] = []
    await person.page.route(f"**/api/v1/chat/{chat_id}", lambda route: route.fulfill(json=chat))

    async def swap(route: Route) -> None:
        swapped.append(route.request.post_data or "")
        await route.fulfill(json={})

    await person.page.route("**/versions", swap)
    await person.open(chat_id)
    await expect(person.last.locator(".steps summary")).to_have_text("2 steps, 1.2 s")
    await expect(person.last.locator("h2")).to_have_text("The result")
    await expect(person.last.locator(".steps")).not_to_have_attribute("open", "")
    await expect(person.last.locator(".stopped")).to_have_text(
        "Stopped in 13 ms · ran on backend-2 · asked through backend-3"
    )
    await expect(person.questions.locator(".count")).to_have_text("2/2")
    await person.questions.hover()
    await person.page.get_by_role("button", name="The version before").click()
    await eventually(lambda: swapped == ['{"version":1}'])
    await person.page.click("#about")
    await expect(person.page.locator("#about-expires")).to_contain_text(
        "Kept until Wednesday, January 2, 2030"
    )


@pytest.mark.chromium_only("Firefox does not show the body of a request over WebDriver BiDi")
async def test_waiting_says_what_it_waits_for(person: Person, chat_id: str) -> None:
    def stream(*events: str) -> str:
        return "".join(f"id: RUN:{n}\nevent: {it}\n\n" for n, it in enumerate(events, 1))

    said: list[str] = []
    scenes = [
        ('queue\ndata: {"position": 3, "ahead": 2, "waited_ms": 10}', "2 ahead of you"),
        ('model\ndata: {"phase": "loading"}', "Loading the model"),
        ('model\ndata: {"phase": "reading", "processed": 34, "total": 100}', "Reading, 34 %"),
    ]

    async def answer(route: Route) -> None:
        run_id = (route.request.post_data_json or {}).get("run_id", "")
        body = stream(scenes[len(said)][0]).replace("RUN", run_id)
        await route.fulfill(body=body, content_type="text/event-stream", headers={"X-Run-Id": run_id})

    await person.page.route("**/api/v1/chat/*?format=json", answer)
    await person.page.route("**/events?format=json", lambda _: None)  # says nothing for now
    for _, words in scenes:
        await person.open(f"{chat_id}-{len(said)}")
        await person.ask("hello")
        await expect(person.last.locator(".waits")).to_have_text(words)
        said.append(words)
    await person.page.unroute_all(behavior="ignoreErrors")
    person.trouble.clear()


async def test_two_tabs_and_a_running_reply_elsewhere(
    person: Person, cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    tab = await another_tab(person.page.context, cluster.port)
    await tab.open("elsewhere")
    await expect(tab.page.locator(f'#chats li[data-id="{chat_id}"] .dot')).to_be_visible()
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await expect(tab.page.locator(f'#chats li[data-id="{chat_id}"] .dot')).to_be_hidden()
