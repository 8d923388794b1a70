"""The end of a growing text is followed until the person moves up, however little and by whatever means."""

import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Browser, expect

from tests.page.person import Person, people
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply
from tests.world.waiting import eventually

pytestmark = pytest.mark.every_browser

GAP = "(it => it.scrollHeight - it.scrollTop - it.clientHeight)(document.getElementById('scroller'))"
SLOW = Reply(tokens=[f"line {n}\n\n" for n in range(3000)], pace=0.05)
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}


async def _wheel(person: Person) -> None:
    await person.page.mouse.move(700, 400)
    await person.page.mouse.wheel(0, -10)


async def _key(person: Person) -> None:
    await person.page.locator("#scroller").focus()
    await person.page.keyboard.press("ArrowUp")


async def _scroll_bar(person: Person) -> None:
    """What a slow drag of the bar does: a few pixels up between two paints."""
    await person.value("document.getElementById('scroller').scrollTop -= 6")


async def _selection(person: Person) -> None:
    await person.value("getSelection().selectAllChildren(document.querySelector('.reply .block'))")


async def _finger(person: Person) -> None:
    """A slow drag: 40 pixels down the screen, two at a time."""
    cdp = await person.page.context.new_cdp_session(person.page)
    for kind, y in [("touchStart", 300), *(("touchMove", 300 + step) for step in range(2, 42, 2))]:
        await cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": 200, "y": y}]})
    await cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


async def _stays_away(person: Person) -> None:
    seen = int(re.findall(r"line (\d+)", await person.text.inner_text())[-1])
    top = await person.value("document.getElementById('scroller').scrollTop")
    await person.sees(f"line {seen + 15}")
    assert await person.value("document.getElementById('scroller').scrollTop") <= top + 1
    await expect(person.page.locator("#latest")).to_be_visible()
    await person.page.locator("#latest").click()
    await eventually(lambda: _at_end(person))
    await person.page.keyboard.press("Escape")


async def _at_end(person: Person) -> bool:
    return bool(await person.value(GAP) <= 60)


@pytest.mark.parametrize("move", [_wheel, _key, _scroll_bar, _selection], ids=lambda it: it.__name__[1:])
async def test_the_first_movement_up_lets_go(
    move: Callable[[Person], Awaitable[None]], person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = SLOW
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("line 30")
    await eventually(lambda: _at_end(person))
    await move(person)
    await _stays_away(person)


@pytest.mark.chromium_only("asks the Chrome DevTools Protocol")
async def test_a_slow_finger_lets_go(
    browser: Browser, cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = SLOW
    async with people(browser, cluster.port, **PHONE) as person:
        await person.open(chat_id)
        await person.ask("hello")
        await person.sees("line 30")
        await eventually(lambda: _at_end(person))
        await _finger(person)
        await _stays_away(person)


async def test_following_starts_again_only_at_the_very_end(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = SLOW
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("line 30")
    await person.value("document.getElementById('scroller').scrollTop -= 200")
    await expect(person.page.locator("#latest")).to_be_visible()
    await person.value("document.getElementById('scroller').scrollTop += 100")  # nearer, and not there
    await _stays_away(person)
    await person.page.mouse.move(700, 400)
    await person.page.mouse.wheel(0, 100_000)
    await eventually(lambda: _at_end(person))
