"""A long reply is followed without a long frame, and many of them leave nothing behind."""

import os
from typing import Any

import pytest
from playwright.async_api import CDPSession, expect

from tests.fakes.ollama import FakeOllama
from tests.fakes.reply import Reply
from tests.page.person import Person
from tests.waiting import eventually

LONGEST_FRAME_MS = float(os.environ.get("PAGE_LONGEST_FRAME_MS", "50"))

PARAGRAPH = (
    "The **quick** brown fox jumps over the lazy dog, reads `config.toml`, follows [a link](https://example.org) and "
    "thinks about *nothing* in particular while the river goes on below the old stone bridge.\n\n"
)
CODE = "```python\n" + "\n".join(f"value_{n} = compute({n}, scale=1.5)  # step {n}" for n in range(12)) + "\n```\n\n"
LIST = "\n".join(f"- item {n} with **some** words and `code`" for n in range(8)) + "\n\n"
TABLE = "| a | b |\n|---|---|\n" + "\n".join(f"| {n} | {n * n} |" for n in range(6)) + "\n\n"


def long_markdown(size: int) -> str:
    """About `size` characters of ordinary model text."""
    text = ""
    while len(text) < size:
        text += f"## Part {len(text)}\n\n" + PARAGRAPH * 3 + LIST + PARAGRAPH + CODE + TABLE
    return text[:size]


def tokens(text: str, size: int = 5) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


# What the main thread did: every long task (over 50 ms), and the longest gap between two frames.
MEASURE = """
() => {
  window.frames_seen = { longest: 0, tasks: [], count: 0 };
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.frames_seen.tasks.push(Math.round(task.duration));
  }).observe({ entryTypes: ["longtask"] });
  let last = performance.now();
  const step = (now) => {
    window.frames_seen.longest = Math.max(window.frames_seen.longest, now - last);
    window.frames_seen.count += 1;
    last = now;
    requestAnimationFrame(step);
  };
  requestAnimationFrame((now) => ((last = now), step(now)));
}
"""


@pytest.mark.timeout(180)
async def test_50_kb_at_200_tokens_a_second_has_no_long_frame(person: Person, chat_id: str, ollama: FakeOllama) -> None:
    # 50 KB in tokens of 5 characters at 200 a second: 50 s; the first 40 KB come at once, as they would after a refresh
    text = long_markdown(50_000)
    ollama.default = Reply(tokens(text), pace=0.005)
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("Part 0")
    await person.value(MEASURE)
    await expect(person.page.locator("body")).to_have_attribute("data-state", "idle", timeout=150_000)
    seen: dict[str, Any] = await person.value("frames_seen")
    print(f"\nframes: {seen}")
    assert len(await person.text.inner_text()) > 30_000
    assert [task for task in seen["tasks"] if task > LONGEST_FRAME_MS] == []


@pytest.mark.timeout(180)
async def test_memory_stays_flat_over_20_replies(person: Person, ollama: FakeOllama) -> None:
    ollama.default = Reply(tokens(long_markdown(12_000), 40), pace=0.001)
    cdp = await person.page.context.new_cdp_session(person.page)
    counted = []
    for number in range(20):
        await person.open(f"memory-{number}")
        await expect(person.page.locator("#empty")).to_be_visible()
        await person.ask("hello")
        await expect(person.last.locator(".facts")).to_contain_text("total", timeout=60_000)
        await person.state("idle")
        counted.append(await used(cdp))
    print(f"\nheap KB, nodes, listeners: {counted}")
    (first_heap, first_nodes, first_listeners), (heap, nodes, listeners) = counted[4], counted[-1]
    assert heap < first_heap * 1.25 + 1000
    assert nodes < first_nodes * 1.25 + 300
    assert listeners < first_listeners * 1.25 + 100


async def used(cdp: CDPSession) -> tuple[int, int, int]:
    """Heap in KB, nodes and listeners after a collection."""
    await cdp.send("HeapProfiler.collectGarbage")
    counters = await cdp.send("Memory.getDOMCounters")
    heap = await cdp.send("Runtime.getHeapUsage")
    return round(heap["usedSize"] / 1000), counters["nodes"], counters["jsEventListeners"]


async def test_a_long_chat_opens_at_its_end(person: Person, ollama: FakeOllama, chat_id: str) -> None:
    ollama.default = Reply([long_markdown(3000)])
    await person.open(chat_id)
    for number in range(12):
        await person.ask(f"question {number}")
        await expect(person.replies).to_have_count(number + 1)
        await person.state("idle")
    await person.page.reload()
    await expect(person.replies).to_have_count(12)
    gap = "(it => it.scrollHeight - it.scrollTop - it.clientHeight)(document.getElementById('scroller'))"

    async def at_end() -> bool:
        return bool(await person.value(gap) < 2)

    await eventually(at_end)
