"""What models write is shown as it is meant."""

import os
import random
import re

import pytest
from playwright.async_api import expect

from tests.page.person import Person
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply

FORMULAS = (
    "\\[ x = \\frac{-b \\pm \\sqrt{b^2}}{2a} \\]\n\nWith \\(a\\,b\\) and $\\mathbf{x}_{i}^{*}$ and "
    "$\\mathbf{y}_{j}^{*}$ it costs $5 or $10.\n\n$$\na \\\\ b\n$$\n\nAnd $\\undefinedthing{x}$ stays.\n"
)
IN_ROWS = (
    "3. three\n4. four with `code`\n   - inner\n   - [ ] to do\n5. five $x^2$\n6. a < b\n\n"
    "- tight\n- **bold**\n- third\n\n- loose now\n\n  more\n- last\n\n"
    "| a | b |\n|:--|--:|\n| 1 | *x* |\n| 2 \\| 3 | `y` |\n| [l](https://e.org) | z |\n| end\n\nend\n"
)
MIXED = int(os.environ.get("SOAK_BOMBS", "20"))


async def _shows(person: Person, chat_id: str, ollama: FakeOllama, text: str) -> None:
    ollama.default = Reply(re.findall(r"[\s\S]{1,7}", text))
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    await expect(person.last.locator(".block").first).to_be_attached()


async def test_one_tilde_means_about(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    await _shows(person, chat_id, ollama, "takes ~3 hours and ~5 by car, about 3~5, not ~~seven~~")
    await expect(person.last.locator("del")).to_have_text(["seven"])
    await person.sees("takes ~3 hours and ~5 by car, about 3~5")


async def test_lines_stay_lines(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    await _shows(person, chat_id, ollama, "Roses are red,\nViolets are blue.\n\nName: Ada\nCity: London")
    assert "red,\nViolets" in await person.text.inner_text()
    assert "Ada\nCity" in await person.text.inner_text()


async def test_formulas_are_typeset_and_keep_their_source(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    await _shows(person, chat_id, ollama, FORMULAS)
    await expect(person.last.locator("math")).to_have_count(5)
    await expect(person.last.locator("math[display=block]")).to_have_count(2)
    await expect(person.last.locator("code.math")).to_have_text(["$\\undefinedthing{x}$"])
    await expect(person.last.locator("em")).to_have_count(0)
    await person.sees("it costs $5 or $10.")
    await person.last.get_by_role("button", name="Copy reply").click()
    await person.hears("Copied")
    await person.box.focus()
    await person.page.keyboard.press("Control+v")
    assert (await person.box.input_value()).strip() == FORMULAS.strip()


async def test_formulas_are_their_source_where_the_library_does_not_come(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    await person.page.route("**/vendor/temml*", lambda route: route.abort())
    await _shows(person, chat_id, ollama, FORMULAS)
    await expect(person.last.locator("code.math").nth(1)).to_have_text("\\(a\\,b\\)")
    await expect(person.last.locator("code.math").nth(2)).to_have_text("$\\mathbf{x}_{i}^{*}$")
    person.trouble.clear()


async def test_a_page_without_formulas_loads_no_library(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    await _shows(person, chat_id, ollama, "It costs $5, **really**.")
    assert not any("temml" in url for url in person.requests)


async def test_tables_have_the_sides_they_ask_for(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    await _shows(person, chat_id, ollama, "| a | b | c |\n|:--|:-:|--:|\n| x | y | z |\n")
    sides = await person.value(
        "[...document.querySelectorAll('.reply td')].map((it) => getComputedStyle(it).textAlign)"
    )
    assert sides == ["left", "center", "right"]
    await person.last.locator(".table").hover()
    await person.page.get_by_role("button", name="Copy table").click()
    await person.box.focus()
    await person.page.keyboard.press("Control+v")
    await expect(person.box).to_have_value("a\tb\tc\nx\ty\tz")


async def test_headings_have_sizes(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    text = "\n\n".join(f"{'#' * level} Heading {level}" for level in range(1, 7))
    await _shows(person, chat_id, ollama, text)
    looks = await person.value(
        "[...document.querySelectorAll('.reply [class^=level]')].map((it) => getComputedStyle(it))"
        ".map(({ fontSize, color, fontStyle }) => [parseFloat(fontSize), color, fontStyle])"
    )
    sizes = [size for size, _, _ in looks]
    assert sizes == sorted(sizes, reverse=True)
    assert len({str(look) for look in looks}) == 6


async def test_folds_notes_and_tasks(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    text = (
        "<details>\n<summary>More *here*</summary>\n\nInside\n\n- a\n- b\n\n</details>\n\n"
        "Known[^1] and[^b].\n\n- [x] done\n- [ ] open\n\n[^1]: The **first** note.\n[^b]: The second.\n"
    )
    await _shows(person, chat_id, ollama, text)
    fold = person.last.locator(".text details")
    await expect(fold.locator("summary em")).to_have_text("here")
    await expect(fold.locator("li").first).to_be_hidden()
    await fold.locator("summary").click()
    await expect(fold.locator("li").first).to_be_visible()
    await expect(person.last.locator("sup.note")).to_have_text(["1", "b"])
    await expect(person.last.locator(".note-text strong")).to_have_text("first")
    await person.sees("☑ done")
    await person.sees("☐ open")


# of the cells of the second row and of the items: the side their words stand at
WHERE_TEXT_STARTS = """
() => [...document.querySelectorAll(".reply td, .reply li")].map((it) => {
  const range = document.createRange();
  range.selectNodeContents(it);
  const [words, box] = [range.getBoundingClientRect(), it.getBoundingClientRect()];
  return words.left - box.left < box.right - words.right ? "left" : "right";
})
"""


async def test_every_line_finds_its_own_direction(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    text = "`code` שלום עולם\n\n> ציטוט\n\n| a | שלום |\n|---|---|\n| b | עולם |\n\n- שלום\n- hello\n"
    await _shows(person, chat_id, ollama, text)
    assert await person.value(
        "[...document.querySelectorAll('.reply :is(.block > p, blockquote, table, ul)')]"
        ".map((it) => getComputedStyle(it).direction)"
    ) == ["rtl", "rtl", "ltr", "rtl"]
    assert await person.value(WHERE_TEXT_STARTS) == ["left", "right", "right", "left"]
    quote = person.last.locator("blockquote")
    assert await quote.evaluate("it => parseFloat(getComputedStyle(it).borderRightWidth)") > 0
    for place in ("#box", "#rename", "#chats .title"):
        await expect(person.page.locator(place).first).to_have_attribute("dir", "auto")
    await person.questions.hover()
    await person.page.get_by_role("button", name="Edit and send again").click()
    await expect(person.page.get_by_label("Edit your question")).to_have_attribute("dir", "auto")


SEEDS = (
    "> |- |* |1. |+ |> - |**a |_a |*a**b |[|![|[a](|<b>|<details>|<a |` |``` |~~a |\\( |\\[ |$a |$$ |[^a]: "
)


def bombs(mixed: int = MIXED) -> list[str]:
    """Texts of the kind that models in a loop write: 21 of one mark each, and `mixed` of many."""
    chance = random.Random(7)
    seeds = SEEDS.split("|")
    more = ["".join(chance.choices(seeds, k=900)) for _ in range(mixed)]
    deep = "\n".join("  " * depth + "- x" for depth in range(80))
    return [*(seed * (3000 // len(seed)) for seed in seeds if seed), ">" * 3000, deep, *more]


async def test_nesting_without_end_is_shown_and_hides_nothing(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    for number, bomb in enumerate(bombs()):
        ollama.on(f"#{number}#", Reply([bomb, "\n\nafter the bomb"]))
    count = len(bombs())
    await person.open(chat_id)
    for number in range(count):
        await person.ask(f"#{number}#")
        await expect(person.replies).to_have_count(number + 1)
        await person.state("idle")
    await person.page.reload()
    await expect(person.replies).to_have_count(count)
    for number in range(count):
        assert len(await person.replies.nth(number).locator(".parts").inner_text()) > 5, number
    ollama.on("and now", Reply(["a calm word"]))
    await person.ask("and now")
    await person.sees("a calm word")


async def test_a_block_that_cannot_be_shown_is_shown_as_it_came(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    await _shows(person, chat_id, ollama, "First **words**.\n\nThe poison pill.\n\nLast *words*.")
    await person.value(
        "(real => DOMPurify.sanitize = (html, how) => {"
        " if (String(html).includes('poison')) throw new Error('no'); return real(html, how); })"
        "(DOMPurify.sanitize)"
    )
    await person.ask("again")
    await expect(person.replies).to_have_count(2)
    await person.state("idle")
    await expect(person.last.locator("strong")).to_have_text("words")
    await person.sees("The poison pill.")
    await expect(person.last.locator("em")).to_have_text("words")
    person.trouble.clear()


@pytest.mark.parametrize(("text", "formulas"), [("hello **there**", 0), (FORMULAS, 5), (IN_ROWS, 1)])
async def test_streamed_or_read_again_it_looks_the_same(
    text: str, formulas: int, person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(re.findall(r"[\s\S]{1,7}", text), pace=0.03)
    await person.open(chat_id)
    await person.ask("hello")
    await expect(person.last.locator(".facts")).to_contain_text("total")
    await expect(person.last.locator("math")).to_have_count(formulas)
    streamed = await person.last.locator(".text").inner_html()
    await person.page.reload()
    await expect(person.last.locator("math")).to_have_count(formulas)
    whole = await person.last.locator(".text").inner_html()
    assert streamed.replace(' class=""', "") == whole  # where the cursor was
