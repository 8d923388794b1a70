"""A block that grows does so in place: selections, links and buttons in it live, and there is one cursor."""

import re

import pytest
from playwright.async_api import expect

from tests.page.person import Person
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.waiting import eventually

pytestmark = pytest.mark.every_browser

BLOCKS = {
    "paragraph": ("", "these words stay [here](https://example.org) and "),
    "list": ("- these words stay [here](https://example.org)\n", "- item\n"),
    "table": (
        "| a | b |\n|---|---|\n| these words stay [here](https://example.org) | 1 |\n",
        "| more | 2 |\n",
    ),
    "fold": (
        "<details>\n<summary>these words stay</summary>\n\n[here](https://example.org)\n\n",
        "more words\n\n",
    ),
}
MARK = """
() => {
  const place = [...document.querySelectorAll(".reply .block *")].find(
    (it) => it.childNodes[0]?.data?.includes("these words"));
  const text = place.childNodes[0];
  getSelection().setBaseAndExtent(text, 0, text, 11);
  const link = document.querySelector(".reply a");
  link.closest("details")?.setAttribute("open", "");
  link.focus();
  getSelection().setBaseAndExtent(text, 0, text, 11);
  window.kept = { text, link, place };
}
"""
COUNT_MADE = """
(real => DOMPurify.sanitize = (html, how) => {
  window.made = Math.max(window.made ?? 0, String(html).length);
  return real(html, how);
})(DOMPurify.sanitize)
"""
KEPT = """
() => [getSelection().toString(), document.activeElement === window.kept.link, window.kept.place.isConnected]
"""


@pytest.mark.parametrize("kind", list(BLOCKS))
async def test_a_growing_block_keeps_selection_and_focus(
    kind: str, person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    start, more = BLOCKS[kind]
    pieces = [start, *([more] * 60)] if start else [more] * 60
    ollama.default = Reply(pieces, pace=0.05)
    await person.open(chat_id)
    await person.ask("hello")
    await expect(person.last.locator("a").first).to_be_attached()
    await person.value(MARK)
    size = len(await person.text.inner_text())

    async def has_grown() -> bool:
        return len(await person.text.inner_text()) > size + 60

    await eventually(has_grown)
    assert await person.value(KEPT) == ["these words", True, True]
    await person.state("idle")


async def test_a_growing_table_is_made_by_its_new_rows_alone(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("table", Reply(["| a | b |\n|---|---|\n", *["| more | rows |\n"] * 300], pace=0.02))
    await person.open(chat_id)
    await person.ask("hello")
    await expect(person.last.locator(".facts")).to_contain_text("total")
    await person.value(COUNT_MADE)
    await person.ask("table")
    await expect(person.last.locator("tbody tr")).to_have_count(300)
    await person.state("idle")
    assert 0 < await person.value("window.made") < 8_000  # characters in one go; the whole table has 11,800


async def test_code_inside_a_growing_list_can_be_copied(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    start = "- first\n\n  ```python\n  x = 1\n  ```\n\n"
    ollama.default = Reply([start, *["- more words here\n"] * 100], pace=0.05)
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("more words here")
    button = person.page.get_by_role("button", name="Copy code")
    await button.hover()
    await person.page.mouse.down()
    before = await person.last.locator("li").count()

    async def has_grown() -> bool:
        return await person.last.locator("li").count() > before + 4

    await eventually(has_grown)
    await person.page.mouse.up()
    await person.hears("Copied")
    await person.page.keyboard.press("Escape")
    await person.state("idle")


WATCH = """
() => {
  /** How much higher the cursor makes the text: a line of its own would make it jump when it goes. */
  const room = (cursor) => {
    const text = cursor.closest(".text");
    const height = text.offsetHeight;
    cursor.classList.remove("cursor");
    const bare = text.offsetHeight;
    cursor.classList.add("cursor");
    return height - bare;
  };
  window.seen = [];
  const log = document.getElementById("log");
  new MutationObserver((_, watcher) => {
    const cursors = [...log.querySelectorAll(".cursor")];
    const last = cursors.at(-1);
    const isEnd = !last || ![...log.querySelectorAll(".text")].at(-1).textContent.trim()
      || log.querySelector(".reply:last-of-type .text:last-of-type")?.contains(last);
    const words = log.querySelector(".text:last-of-type")?.innerText ?? "";
    window.seen.push([cursors.length, isEnd, words, last ? room(last) : 0]);
    watcher.takeRecords();
  }).observe(log, { childList: true, subtree: true, characterData: true, attributes: true });
}
"""


async def test_one_cursor_at_the_end_of_the_text(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    text = "Some words.\n\n- one\n- two\n  - inner\n\n> quoted\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nlast"
    ollama.default = Reply(list(text), pace=0.01, tool=ToolCall("calculate", {"expression": "2+2"}))
    await person.open(chat_id)
    await person.value(WATCH)
    await person.ask("hello")
    await person.state("idle")
    seen = await person.value("window.seen")
    assert any(count == 1 for count, *_ in seen)
    for count, is_end, words, room in seen:
        assert count <= 1, words
        assert is_end, words
        assert room <= 2, words
    await expect(person.page.locator(".cursor")).to_have_count(0)


async def test_marks_that_are_half_written_never_flash(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    text = (
        "An *italic word* and ~~gone~~ end.\n\n| Name | Value |\n|---|---|\n| x | 1 |\n\n"
        "<details><summary>More</summary>\n\nin\n\n</details>\n"
    )
    ollama.default = Reply(list(text), pace=0.02)
    await person.open(chat_id)
    await person.value(WATCH)
    await person.ask("hello")
    await person.state("idle")
    seen = [shown for _, _, shown, _ in await person.value("window.seen")]
    assert len(seen) > 20
    for shown in seen:
        assert not re.search(r"[*~|<]", shown), shown
