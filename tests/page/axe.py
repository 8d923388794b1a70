"""WCAG 2.2 AA by axe-core on what is shown: in both themes, in forced colours, on a small screen."""

from itertools import product
from typing import Any, Literal

from tests.page.person import Person
from tests.world.processes import ROOT

AXE = ROOT / "tests" / "page" / "vendor" / "axe-4.14.1.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
FORCED: tuple[Literal["none", "active"], ...] = ("none", "active")
# by the switch of the page, since not every browser can be told what the system prefers
# what moves for ever stands still where it is faintest, what moves once has arrived
STILL = """() => {
  for (const motion of document.getAnimations()) {
    const { endTime, delay } = motion.effect.getComputedTiming();
    if (endTime < Infinity) motion.finish();
    else {
      motion.pause();
      motion.currentTime = delay;
    }
  }
}"""
DRESS = "theme => (localStorage.setItem('chat.theme', theme), dressPage())"


async def nothing_found(person: Person) -> None:
    """Raises with what axe objects to, in whichever look."""
    for theme, forced in product(THEMES, FORCED if _can_force(person) else FORCED[:1]):
        await person.page.evaluate(DRESS, theme)
        if _can_force(person):
            await person.page.emulate_media(color_scheme=theme, forced_colors=forced)
        found = await violations(person)
        assert not found, (theme, forced, found)
    await person.page.set_viewport_size({"width": 390, "height": 780})
    found = await violations(person)
    assert not found, ("narrow", found)


async def violations(person: Person) -> list[Any]:
    """What axe-core objects to, in short."""
    if not await person.value("typeof axe === 'object'"):
        await person.value(AXE.read_text())
    await person.page.evaluate(STILL)
    found = await person.page.evaluate("rules => axe.run(document, { runOnly: rules })", RULES)
    return [(it["id"], [node["html"][:160] for node in it["nodes"]]) for it in found["violations"]]


def _can_force(person: Person) -> bool:
    """Firefox cannot be told of forced colours over WebDriver BiDi."""
    browser = person.page.context.browser
    return browser is not None and browser.browser_type.name == "chromium"
