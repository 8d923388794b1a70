"""Markdown by blocks: finished blocks stay, nothing flickers, code is copied and coloured."""

import re

from playwright.async_api import expect

from tests.page.person import Person
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply
from tests.world.waiting import eventually

RICH = """Some **bold** words and `code`, and [a link](https://example.org/x).

## A heading

1. one
2. two
   - inner

| a | b |
|---|--:|
| 1 | 2 |

> quoted

```python
def f(x):
    return x  # done
```

```unknownlang
plain
```

Last words with H<sub>2</sub>O and <script>alert(1)</script>.
"""


async def test_every_kind_of_block(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(re.findall(r"[\s\S]{1,4}", RICH), pace=0.002)
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    text = person.last.locator(".text")
    await expect(text.locator("strong")).to_have_text("bold")
    await expect(text.locator("a")).to_have_attribute("href", "https://example.org/x")
    await expect(text.locator("h2")).to_have_text("A heading")
    await expect(text.locator("ol > li ul > li")).to_have_text("inner")
    await expect(text.locator("tbody td")).to_have_text(["1", "2"])
    await expect(text.locator("blockquote")).to_have_text("quoted")
    await expect(text.locator(".code-head span")).to_have_text(["python", "unknownlang"])
    await expect(text.locator(".hljs-keyword")).to_have_text(["def", "return"])
    await expect(text.locator("sub")).to_have_text("2")
    await expect(text.locator(".block").last).to_contain_text("<script>alert(1)</script>")
    whole = await text.inner_html()
    await person.page.reload()
    await expect(person.replies).to_have_count(1)
    await expect(text.locator(".hljs-keyword")).to_have_count(2)
    assert await text.inner_html() == whole  # streamed or read again, it looks the same


async def test_a_copied_code_block_is_the_code(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(["```python\ndef f(x):\n    return x\n```\n"])
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    await person.page.get_by_role("button", name="Copy code").click()
    await person.hears("Copied")
    await person.box.focus()
    await person.page.keyboard.press("Control+v")
    await expect(person.box).to_have_value("def f(x):\n    return x")


async def test_an_open_fence_is_code_from_its_first_line(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(["Look:\n\n```py", "thon\n", "x = 1\n", "y = 2\n"], fault="stall", fault_after=3)
    await person.open(chat_id)
    await person.ask("hello")
    await expect(person.last.locator(".code-head span")).to_have_text("python")
    await expect(person.last.locator("pre code")).to_have_text("x = 1")
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await expect(person.last.locator("pre code")).to_have_text("x = 1")


WATCH_NODES = """
() => {
  window.seen = { removed: [], shown: [] };
  const log = document.getElementById("log");
  new MutationObserver((records) => {
    for (const { removedNodes, target } of records)
      for (const node of removedNodes)
        if (node.classList?.contains("block")) window.seen.removed.push(node.textContent);
    window.seen.shown.push(log.querySelector(".text")?.innerText ?? "");
  }).observe(log, { childList: true, subtree: true, characterData: true });
}
"""


async def test_finished_blocks_stay_and_markers_never_flash(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(list(RICH.split("```unknownlang", maxsplit=1)[0]), pace=0.01)
    await person.open(chat_id)
    await person.value(WATCH_NODES)
    await person.ask("hello")
    first = person.last.locator(".block").first
    await expect(person.last.locator(".block").nth(1)).to_be_visible()
    handle = await first.element_handle()
    await person.state("idle")
    assert handle
    assert await handle.evaluate("it => it.isConnected")
    shown = (await person.value("window.seen"))["shown"]
    assert len(shown) > 5
    for text in shown:
        assert not re.search(r"\*\*|`|\]\(|https://example", text), text


async def test_text_that_says_done_or_frames_is_text(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    words = "[DONE]\n\n[STOPPED]\n\n[ERROR] no\n\nevent: end\ndata: x\n\nafter"
    ollama.default = Reply(list(words))
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    for part in ("[DONE]", "[STOPPED]", "[ERROR] no", "event: end", "after"):
        await person.sees(part)
    await expect(person.last.locator(".stopped")).to_have_count(0)


async def test_line_ends_and_rare_letters_arrive_whole(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(["Grüße 👩‍👩‍👧 ", "漢字 ", "עברית ", "end"], torn=True)
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("Grüße 👩‍👩‍👧 漢字 עברית end")
    await eventually(lambda: ollama.of("hello"))
