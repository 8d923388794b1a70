"""Paper, old browsers, devices that slept, files that never come."""

import re
from functools import partial

import pytest
from playwright.async_api import Browser, Route, expect

from tests.page.person import Person, people
from tests.page.sayings import STATIC
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.proxy import FaultProxy
from tests.world.fakes.reply import Reply
from tests.world.waiting import eventually

LONG = "\n\n".join(f"## Part {n}\n\n" + "words and more words " * 60 for n in range(40))


@pytest.mark.chromium_only("only Chromium prints into a file")
async def test_a_chat_is_printed_from_its_first_page_to_its_last(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply([LONG])
    await person.page.emulate_media(color_scheme="dark")
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    await expect(person.last.locator("h2")).to_have_count(40)
    pdf = await person.page.pdf()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 5
    await person.page.emulate_media(media="print")
    for hidden in ("#side", "#composer", ".tools-row", "#menu"):
        await expect(person.page.locator(hidden).first).to_be_hidden()
    assert await person.value("getComputedStyle(document.body).color") == "rgb(29, 32, 34)"  # ink, not light


def test_no_colour_needs_a_new_browser() -> None:
    for path in STATIC.glob("*.css"):
        assert not re.search(r"light-dark\(|oklch\(|color-mix\(", path.read_text()), path


async def test_a_device_that_slept_notices_a_dead_connection(
    browser: Browser, cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    """Without help a connection that died without a word is noticed after 40 s; this waits for less."""
    ollama.default = Reply(tokens=150, pace=0.02)
    attached: list[str] = []
    async with FaultProxy("127.0.0.1", cluster.port) as way, people(browser, way.port) as person:
        person.page.on("request", lambda it: attached.append(it.url) if "/events" in it.url else None)
        for number, sign in enumerate(("visibilitychange", "online")):
            await person.open(f"{chat_id}-{number}")
            await person.ask("hello")
            await person.sees("word9 ")
            way.freeze()  # the connection dies without a word
            before = len(attached)
            target = "document" if sign == "visibilitychange" else "window"
            await person.value(f"{target}.dispatchEvent(new Event('{sign}'))")
            await eventually(partial(_more, attached, before), within=20)
            way.heal()
            await person.sees("word149")
            await person.state("idle")


def _more(attached: list[str], before: int) -> bool:
    return len(attached) > before


async def test_a_connection_that_lives_is_left_alone(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=150, pace=0.03)
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("word9 ")
    await person.value("document.dispatchEvent(new Event('visibilitychange'))")
    await person.sees("word149")
    await person.state("idle")
    assert not any("/events" in url for url in person.requests)


async def test_a_script_that_never_comes_is_told_and_not_waited_for_for_ever(
    person: Person, chat_id: str
) -> None:
    loads: list[str] = []
    person.page.on("request", lambda it: loads.append(it.url) if it.url.endswith("/first.js") else None)
    await person.page.route("**/static/turns.js", lambda route: route.fulfill(status=404))
    await person.page.clock.install()
    await person.page.goto(f"{person.origin}/#/chat/{chat_id}")
    for _ in range(40):  # a page that loads anew takes no notice of a clock that runs meanwhile
        await expect(person.page.locator("#missing")).to_be_visible()
        await person.page.clock.run_for(9_000)
        if len(loads) >= 4:
            break
    await person.page.clock.run_for(60_000)
    await expect(person.page.locator("#missing")).to_be_visible()
    assert len(loads) == 4  # the first and three more tries
    await person.page.unroute_all()
    await person.page.get_by_role("button", name="Try now").click()
    await expect(person.page.locator("#picker")).to_be_visible()
    await expect(person.page.locator("#missing")).to_be_hidden()
    person.trouble.clear()


async def test_fields_are_large_enough_that_no_phone_zooms_in(person: Person, client: Client) -> None:
    await client.ask("fields", "hello")
    await person.open("fields")
    await expect(person.replies).to_have_count(1)
    await person.page.click("#about")
    await expect(person.page.locator("#about-chat")).to_be_visible()
    await person.page.keyboard.press("Escape")
    await person.questions.hover()
    await person.page.get_by_role("button", name="Edit and send again").click()
    sizes = await person.value(
        "[...document.querySelectorAll('input:not([type=radio], [type=checkbox]), textarea, select')]"
        ".map((it) => [it.id, parseFloat(getComputedStyle(it).fontSize)])"
    )
    assert [name for name, size in sizes if size < 16] == []


async def test_the_edit_box_is_as_high_as_its_text(person: Person, client: Client) -> None:
    await client.ask("high", "\n".join(f"line {n}" for n in range(40)))
    await person.open("high")
    await person.questions.hover()
    await person.page.get_by_role("button", name="Edit and send again").click()
    box = await person.page.get_by_label("Edit your question").bounding_box()
    assert box
    assert box["height"] > 400


async def test_the_home_screen_finds_a_name_and_an_icon(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    manifest = await person.value("fetch('/static/manifest.json').then((it) => it.json())")
    assert manifest["name"]
    for icon in manifest["icons"]:
        assert await person.page.evaluate("src => fetch(`/static/${src}`).then((it) => it.ok)", icon["src"])
    policy = await person.value("fetch('/').then((it) => it.headers.get('content-security-policy'))")
    assert "manifest-src 'self'" in policy


@pytest.mark.every_browser
@pytest.mark.parametrize("missing", ["turn", "steps", "about"])
async def test_a_part_of_the_page_that_did_not_come_is_asked_for_again(
    missing: str, person: Person, client: Client, chat_id: str
) -> None:
    await client.ask(chat_id, "hello")
    refused: list[str] = []

    async def refuse(route: Route) -> None:
        refused.append(route.request.url)
        if missing == "steps":
            await route.abort()
        else:
            await route.fulfill(status=502, body="nobody is there")

    await person.page.route(f"**/view/{missing}.js", refuse)
    await person.open(chat_id)
    if missing == "about":
        await person.page.click("#about")
        await expect(person.page.locator("#toast")).to_contain_text("has not arrived")
    await eventually(lambda: len(refused) > 1 or missing == "about")
    await person.page.unroute_all(behavior="wait")
    await person.sees("word4")
    if missing == "about":
        await person.page.click("#about")
        await expect(person.page.get_by_role("dialog", name="This chat")).to_be_visible()
    person.trouble.clear()  # it was missed
