"""The list of chats, addresses, ids, export, keys, phone, themes, status, the API key."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.page.person import Person, people
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Reply
from tests.world.waiting import eventually


async def test_the_list_is_newest_first_and_filters_by_title(person: Person, client: Client) -> None:
    for name in ("apples", "pears", "plums"):
        await client.ask(f"list-{name}", f"About {name} and more")
    await person.open("list-apples")
    titles = person.chats.locator(".title")
    await expect(titles.nth(0)).to_have_text("About plums and more")
    await expect(titles.nth(2)).to_have_text("About apples and more")
    await expect(person.chats.nth(2).locator("a")).to_have_attribute("aria-current", "page")
    await expect(person.chats.first.locator(".when")).to_have_text("now")
    await person.page.keyboard.press("Control+k")
    await expect(person.page.locator("#filter")).to_be_focused()
    await person.page.keyboard.type("PEARS")
    await expect(titles).to_have_text(["About pears and more"])
    await person.page.keyboard.press("Enter")
    await expect(person.page).to_have_url(re.compile("#/chat/list-pears$"))
    await expect(person.page.locator("#title")).to_have_text("About pears and more")


async def test_rename_and_delete_with_undo(person: Person, client: Client) -> None:
    await client.ask("mine", "hello there")
    await person.open("mine")
    await expect(person.replies).to_have_count(1)
    await person.page.click("#about")
    await person.page.fill("#about-title", "Better name")
    await person.page.get_by_role("button", name="Rename").click()
    await expect(person.page.locator("#title")).to_have_text("Better name")
    await eventually(lambda: _title(client, "mine", "Better name"))
    await client.ask("mine", "hello again", replaces=(await client.messages("mine"))[0]["run_id"])
    await client.http.patch("/api/v1/chat/mine", json={"instructions": "Be brief.", "temperature": 0.2})
    before = await client.chat_info("mine")

    await person.page.click("#about")
    await person.page.get_by_role("button", name="Delete this chat").click()
    await expect(person.page.locator("#toast")).to_contain_text("Deleted “Better name”")
    assert await _title(client, "mine", None)  # it is true when it is said
    await expect(person.chats.filter(has_text="Better name")).to_have_count(0)
    await person.page.get_by_role("button", name="Undo").click()
    await expect(person.page).to_have_url(re.compile("#/chat/mine$"))
    await expect(person.replies).to_have_count(1)
    after = await client.chat_info("mine")
    kept = ("title", "agent", "messages", "created_at", "instructions", "temperature")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


async def test_undo_brings_back_a_chat_in_which_a_reply_was_being_made(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = HELD
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await person.ask("and then")
    await expect(person.page.get_by_role("button", name="Take back")).to_be_visible()
    await eventually(lambda: _waits(client, chat_id))
    await person.page.click("#about")
    await person.page.get_by_role("button", name="Delete this chat").click()
    await expect(person.page.locator("#toast")).to_contain_text("Deleted")
    assert await _title(client, chat_id, None)
    await eventually(lambda: ollama.open_streams == 0)
    await person.page.get_by_role("button", name="Undo").click()
    await person.sees(HELD_TEXT.strip())
    await expect(person.last.locator(".stopped")).to_be_visible()
    await expect(person.box).to_have_value("and then")


async def _waits(client: Client, chat_id: str) -> bool:
    return len((await client.chat_info(chat_id))["queued"]) == 1


async def test_a_search_finds_words_in_titles_and_texts(
    person: Person, client: Client, ollama: FakeOllama
) -> None:
    ollama.on("apples", Reply(["Some say that a Quince is one of them."]))
    for name in ("apples", "quinces", "plums"):
        await client.ask(f"find-{name}", f"About {name} and more")
    await person.open()
    await person.page.keyboard.press("Control+k")
    await person.page.keyboard.type("quince")
    await expect(person.chats.locator(".title")).to_have_text(
        ["About quinces and more", "About apples and more"]
    )
    await expect(person.chats.nth(1).locator(".excerpt")).to_have_text(
        "Some say that a Quince is one of them."
    )
    await expect(person.chats.locator("mark")).to_have_text(["quince", "Quince"])
    await expect(person.page.locator("#chats .day")).to_have_text("Found")
    await person.page.keyboard.press("Escape")
    await expect(person.page.locator("#chats .day").first).to_have_text("Today")
    await person.page.keyboard.type("zebra")
    await expect(person.page.locator("#no-chats")).to_have_text("Nothing found.")
    late = {"chats": [], "count": 0, "complete": False}
    await person.page.route("**/api/v1/chats?*q=*", lambda route: route.fulfill(json=late))
    await person.page.keyboard.type("s")
    await expect(person.page.locator("#no-chats")).to_contain_text("There may be more")


async def test_instructions_temperature_and_agent_belong_to_the_chat(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    await expect(person.page.locator("#told")).to_be_hidden()
    await person.page.click("#about")
    await expect(person.page.locator("#about-warmth")).to_be_empty()
    await person.page.fill("#about-instructions", "Answer like a pirate.")
    await person.page.get_by_label("Own temperature").check()
    await person.page.get_by_label("Temperature", exact=True).fill("0.3")
    await person.page.get_by_role("button", name="Keep").click()
    await expect(person.page.locator("#told")).to_be_visible()
    await person.page.click("#agent")
    await person.page.locator("#agents").get_by_role("radio", name="poet").check()
    await person.page.keyboard.press("Escape")
    await eventually(lambda: _wishes(client, chat_id, ["Answer like a pirate.", 0.3, "poet"]))
    await person.ask("again")
    await person.state("idle")
    body = ollama.exchanges[-1].body
    assert "Answer like a pirate." in body["messages"][0]["content"]
    assert body["options"]["temperature"] == 0.3
    await person.page.reload()
    await person.page.click("#told")
    await expect(person.page.locator("#about-instructions")).to_have_value("Answer like a pirate.")
    await person.page.fill("#about-instructions", "")
    await person.page.get_by_label("Own temperature").uncheck()
    await person.page.get_by_role("button", name="Keep").click()
    await eventually(lambda: _wishes(client, chat_id, [None, None, "poet"]))
    await expect(person.page.locator("#told")).to_be_hidden()


async def _wishes(client: Client, chat_id: str, wanted: list[object]) -> bool:
    info = await client.chat_info(chat_id)
    return [info["instructions"], info["temperature"], info["agent"]] == wanted


async def test_all_chats_go_out_and_in_again(person: Person, client: Client, where: Path) -> None:
    for row in (await client.get("/api/v1/chats?limit=200"))["chats"]:
        await client.http.delete(f"/api/v1/chat/{row['chat_id']}")
    for name in "ab":
        await client.ask(f"out-{name}", f"hello {name}")
    await person.open()
    await expect(person.chats).to_have_count(2)
    await person.page.click("#settings-open")
    async with person.page.expect_download() as download:
        await person.page.get_by_role("link", name="Export all chats").click()
    file = where / "chats.jsonl"
    await (await download.value).save_as(file)
    await person.page.click("#delete-all")
    await person.page.click("#delete-all")
    await expect(person.page.locator("#toast")).to_contain_text("2 chats deleted")
    await expect(person.chats).to_have_count(0)
    await person.page.get_by_role("button", name="Undo").click()
    await expect(person.chats).to_have_count(2)
    await client.http.delete("/api/v1/chat/out-a")
    await person.page.click("#settings-open")
    await person.page.set_input_files("#import-file", file)
    await expect(person.page.locator("#toast")).to_contain_text("2 chats are here")
    await eventually(lambda: _holds(client, "out-a", 2))  # the undo has said the same


async def _holds(client: Client, chat_id: str, messages: int) -> bool:
    return len(await client.messages(chat_id)) == messages


async def _title(client: Client, chat_id: str, wanted: str | None) -> bool:
    info = await client.chat_info(chat_id)
    return bool(info["status"] == "new" if wanted is None else info["title"] == wanted)


async def test_a_chat_has_an_address_and_the_back_button_works(person: Person, client: Client) -> None:
    await client.ask("here", "hello")
    await person.page.goto(f"{person.origin}/")
    await expect(person.page).to_have_url(re.compile(r"#/$"))
    await person.page.goto(f"{person.origin}/#/chat/here")
    await expect(person.replies).to_have_count(1)
    await person.page.keyboard.press("Control+Shift+O")
    await expect(person.replies).to_have_count(0)
    await person.page.go_back()
    await expect(person.replies).to_have_count(1)
    for odd in ("#/chat/..%2F..", "#/chat/%E0%A4%A", "#/chat/bulk", "#/chat/", "#/nowhere"):
        await person.page.goto(f"{person.origin}/{odd}")
        await expect(person.page).to_have_url(re.compile(r"#/$"))


async def test_the_chat_id_can_be_seen_copied_and_typed(person: Person, client: Client, chat_id: str) -> None:
    await client.ask(chat_id, "hello")
    await person.open("somewhere")
    await person.page.click("#about")
    await expect(person.page.locator("#about-id")).to_have_value("somewhere")
    await person.page.get_by_role("button", name="Copy the chat id").click()
    await person.hears("Copied")
    await person.page.fill("#about-id", "no such id!")
    await expect(person.page.locator("#about-open")).to_be_disabled()
    await person.page.fill("#about-id", chat_id)
    await person.page.keyboard.press("Enter")
    await expect(person.page).to_have_url(re.compile(f"#/chat/{chat_id}$"))
    await expect(person.replies).to_have_count(1)
    await person.box.focus()
    await person.page.keyboard.press("Control+v")
    await expect(person.box).to_have_value("somewhere")


async def test_export_by_a_link(person: Person, client: Client) -> None:
    await client.ask("kept", "hello export")
    await person.open("kept")
    await expect(person.replies).to_have_count(1)
    await person.page.click("#about")
    for kind, name in (("Markdown", "kept.md"), ("JSON", "kept.json")):
        async with person.page.expect_download() as download:
            await person.page.get_by_role("link", name=kind, exact=True).click()
        done = await download.value
        assert done.suggested_filename == name
        text = (await asyncio.to_thread(Path(await done.path()).read_bytes)).decode()
        assert "hello export" in text
        assert kind == "Markdown" or json.loads(text)["messages"]


async def test_the_keys(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    await person.open(chat_id)
    await person.page.keyboard.press("Control+/")
    await expect(person.page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    await person.page.keyboard.press("Escape")
    await expect(person.page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
    await person.box.focus()
    await person.page.keyboard.type("one")
    await person.page.keyboard.press("Shift+Enter")
    await person.page.keyboard.type("two")
    await expect(person.box).to_have_value("one\ntwo")
    await person.box.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    await expect(person.questions).to_have_count(0)
    await person.page.keyboard.press("Enter")
    await expect(person.questions.locator(".bubble")).to_have_text(["one\ntwo"])
    await person.state("idle")
    await person.box.press("ArrowUp")
    await expect(person.page.get_by_label("Edit your question")).to_have_value("one\ntwo")
    await person.page.keyboard.press("Escape")
    await person.page.keyboard.press("Shift+Escape")
    await expect(person.box).to_be_focused()


@pytest.mark.chromium_only("Firefox cannot be made a touch screen over WebDriver BiDi")
async def test_on_a_phone(browser: Browser, cluster: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    phone = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}
    async with people(browser, cluster.port, **phone) as person:
        await person.open(chat_id)
        assert await person.value("document.documentElement.scrollWidth <= innerWidth")
        assert await person.box.evaluate("it => parseFloat(getComputedStyle(it).fontSize)") >= 16
        await person.box.tap()
        await person.page.keyboard.type("one")
        await person.page.keyboard.press("Enter")
        await expect(person.box).to_have_value("one\n")  # on touch Enter breaks
        await person.button.tap()
        await person.sees("word4")
        await expect(person.page.locator("#side")).not_to_be_in_viewport()
        await person.page.locator("#menu").tap()
        await expect(person.page.locator("#side")).to_be_in_viewport(ratio=1)
        await person.chats.first.locator("a").tap()
        await expect(person.page.locator("#side")).not_to_be_in_viewport()
        await person.page.set_viewport_size({"width": 390, "height": 400})  # the keyboard is up
        await expect(person.button).to_be_in_viewport(ratio=1)


@pytest.mark.chromium_only("Firefox cannot be told what the system prefers over WebDriver BiDi")
async def test_light_and_dark_by_the_system_and_by_a_switch(person: Person, chat_id: str) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    await person.page.emulate_media(color_scheme="light")
    await person.open(chat_id)
    light = await person.value(ground)
    await person.page.emulate_media(color_scheme="dark")
    await eventually(lambda: _differs(person, ground, light))
    dark = await person.value(ground)
    await person.page.click("#settings-open")
    await expect(person.page.get_by_label("System")).to_be_checked()
    await person.page.get_by_label("Light").check()
    assert await person.value(ground) == light
    await person.page.reload()
    assert await person.value(ground) == light
    await person.page.click("#settings-open")
    await person.page.get_by_label("Dark").check()
    await person.page.emulate_media(color_scheme="light")
    assert await person.value(ground) == dark


async def _differs(person: Person, script: str, before: object) -> bool:
    return bool(await person.value(script) != before)


@pytest.mark.chromium_only("Firefox cannot be told what the system prefers over WebDriver BiDi")
async def test_reduced_motion_is_respected(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = HELD
    await person.page.emulate_media(reduced_motion="reduce")
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    assert await person.value("document.getAnimations().length") == 0
    await person.page.keyboard.press("Escape")
    await person.state("idle")


async def test_scrolling_lets_go_and_takes_up_again(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(tokens=[f"line {n}\n\n" for n in range(3000)], pace=0.01)
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("line 40")
    gap = "(it => it.scrollHeight - it.scrollTop - it.clientHeight)(document.getElementById('scroller'))"
    await eventually(lambda: _under(person, gap, 60))
    await person.page.mouse.move(700, 400)
    await person.page.mouse.wheel(0, -300)
    await expect(person.page.locator("#latest")).to_be_visible()
    top = await person.value("document.getElementById('scroller').scrollTop")
    await person.sees("line 90")
    assert await person.value("document.getElementById('scroller').scrollTop") == top
    await person.page.click("#latest")
    await expect(person.page.locator("#latest")).to_be_hidden()
    await eventually(lambda: _under(person, gap, 60))
    await person.sees("line 130")
    await eventually(lambda: _under(person, gap, 60))
    await person.page.keyboard.press("Escape")
    await person.state("idle")


async def _under(person: Person, script: str, most: float) -> bool:
    return bool(await person.value(script) <= most)


async def test_who_is_at_work(person: Person, client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = FLOWING
    async with client.chat(chat_id, "hello") as stream:
        await stream.until_text("word2")
        await person.open(page="status")
        body = person.page.locator("#status-body")
        await expect(body.locator(".card")).to_have_count(3)
        await expect(body).to_contain_text(re.compile(r"connected · version \d"))
        await body.get_by_role("button", name=f"Stop the run of {chat_id}").click()
        await expect(person.page.locator("#toast")).to_contain_text(
            re.compile(r"Stopped in \d+ ms on backend-[123]")
        )
        assert (await stream.rest()).outcome == "stopped"
        await expect(body).to_contain_text(re.compile(r"\d+ stops? · median [\d.]+ ms"))
        await expect(body.locator(f"a[title={chat_id}]").first).to_have_text("hello")
        await expect(body.locator(".chart circle").first).to_be_attached()
        await expect(body.get_by_role("img", name=re.compile("^1? ?.*stop"))).to_be_visible()
        await person.page.get_by_role("link", name="Back to the chat").click()
        await expect(person.page.locator("#chat-page")).to_be_visible()


async def test_the_demo_announces_itself_calmly(visitor: Person, chat_id: str) -> None:
    await visitor.open(chat_id)
    notice = visitor.page.locator("#demo")
    await expect(notice).to_contain_text("PROVIDER=ollama")
    await visitor.page.get_by_role("button", name="Close this notice").click()
    await visitor.page.reload()
    await expect(visitor.page.locator("#picker")).to_be_visible()
    await expect(notice).to_be_hidden()


async def test_a_server_with_keys_asks_once_and_kindly(
    browser: Browser, redis_url: str, where: Path, chat_id: str
) -> None:
    env = {"PROVIDER": "demo", "API_KEYS": "anna:0123456789abcdef-anna", "DEMO_TOKENS_PER_SECOND": "500"}
    async with (
        Cluster(where, redis_url, env=env, backends=1) as cluster,
        people(browser, cluster.port) as person,
    ):
        await person.open(chat_id)
        asked = person.page.get_by_role("dialog", name="This server asks for a key")
        await expect(asked).to_be_visible()
        await person.page.fill("#key", "wrong")
        await person.page.keyboard.press("Enter")
        await expect(asked.get_by_role("alert")).to_be_visible()
        await person.page.fill("#key", "0123456789abcdef-anna")
        await person.page.keyboard.press("Enter")
        await expect(asked).to_be_hidden()
        await person.ask("What is 2 + 2?")
        await person.state("idle")
        await person.page.reload()
        await expect(person.replies).to_have_count(1)
        await expect(asked).to_be_hidden()
        await person.page.click("#about")
        link = person.page.get_by_role("link", name="JSON", exact=True)
        assert await person.saves(link) == f"{chat_id}.json"


async def test_at_most_one_stream_is_open_and_none_at_rest(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    open_streams: set[object] = set()
    is_stream = re.compile(r"/api/v1/chat/[^/]+(\?format=json|/events)").search
    person.page.on("request", lambda it: open_streams.add(it) if is_stream(it.url) else None)
    for end in ("requestfinished", "requestfailed"):
        person.page.on(end, lambda it: open_streams.discard(it))  # noqa: PLW0108 — Playwright refuses built-ins
    for name in ("a", "b", "c"):
        await person.open(f"{chat_id}-{name}")
        await person.ask(f"hello {name}")
        await person.sees("word9")
        await eventually(lambda: len(open_streams) == 1)
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await eventually(lambda: not open_streams)
