"""Pictures of every view of the page: `python -m tests.page.screenshots OUT_DIR [VIEW ...]`.

Each on a wide screen in light and on a phone in the dark; with `EVERY=1` both in both.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.async_api import Browser, async_playwright, expect

from tests.page.browsers import launch
from tests.page.person import SECONDS, Person, people
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall
from tests.world.processes import ROOT
from tests.world.redis_server import PrivateRedis

ANSWER = """The mean is the sum divided by the count. Two things to keep in mind:

1. An **empty list** has no mean; the function below says `0.0`.
2. Large numbers lose digits when they are added one by one. `math.fsum` does not.

```python
from math import fsum

def mean(numbers: list[float]) -> float:
    \"\"\"The arithmetic mean; 0.0 for nothing at all.\"\"\"
    return fsum(numbers) / len(numbers) if numbers else 0.0

print(mean([3, 4, 8]))  # 5.0
```

| numbers | mean | note |
|---|---:|---|
| 3, 4, 8 | 5.0 | the example |
| none | 0.0 | guarded |

> A mean without its spread says little.

See [the manual](https://docs.python.org/3/library/statistics.html) for more.
"""
# a picture drawn and pasted
PASTED = """async (box) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 420 });
  const pen = canvas.getContext("2d");
  const sky = pen.createLinearGradient(0, 0, 0, 300);
  for (const [at, colour] of [[0, "#27496d"], [0.6, "#d9825b"], [1, "#f6c979"]]) sky.addColorStop(at, colour);
  const shapes = [
    [sky, 0, 0, 640, 300], ["#1d3a4c", 0, 300, 640, 120], ["#f4efe6", 450, 130, 34, 180],
    ["#b3412e", 450, 190, 34, 40], ["#ffe9a8", 444, 108, 46, 22],
  ];
  for (const [colour, ...place] of shapes) {
    pen.fillStyle = colour;
    pen.fillRect(...place);
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const moved = new DataTransfer();
  moved.items.add(new File([blob], "lighthouse.png", { type: "image/png" }));
  box.dispatchEvent(new ClipboardEvent("paste", { clipboardData: moved, bubbles: true }));
}"""
STORY = "Once upon a time there was a lighthouse that no ship had ever needed. " * 40

WIDE = {"width": 1180, "height": 800}
PHONE = {"width": 390, "height": 780}
Scene = Callable[[Person, FakeOllama], Awaitable[None]]


async def empty(person: Person, ollama: FakeOllama) -> None:
    await person.open()
    await expect(person.page.locator("#empty")).to_be_visible()


async def answered(person: Person, ollama: FakeOllama) -> None:
    ollama.default = Reply([ANSWER])
    await person.open("the-mean")
    await person.ask("Write a function for the mean, with an example.")
    await expect(person.page.locator(".hljs-keyword").first).to_be_visible()
    await expect(person.last.locator(".facts")).to_contain_text("total")


async def running(person: Person, ollama: FakeOllama) -> None:
    ollama.default = Reply([f"{word} " for word in STORY.split(" ")], fault="stall", fault_after=60)
    await person.open("a-story")
    await person.ask("Tell me a long story.")
    await person.sees("lighthouse that no ship had ever needed. Once upon")


async def queue(person: Person, ollama: FakeOllama) -> None:
    await running(person, ollama)
    for text in ("And then, who lived there?", "Make it shorter, please."):
        await person.ask(text)
    await expect(person.page.get_by_role("button", name="Send now")).to_have_count(2)


async def stopped(person: Person, ollama: FakeOllama) -> None:
    await running(person, ollama)
    await person.button.click()
    await expect(person.last.locator(".stopped")).to_contain_text("Stopped in")
    await person.state("idle")


async def editing(person: Person, ollama: FakeOllama) -> None:
    await stopped(person, ollama)
    await person.questions.hover()
    await person.questions.get_by_role("button", name="Edit and send again").click()


async def tools(person: Person, ollama: FakeOllama) -> None:
    tool = ToolCall("calculate", {"expression": "12 * (3 + 4)"})
    ollama.default = Reply(
        ["The result is **84**: first the bracket, then the product."],
        thinking=["Brackets first."],
        tool=tool,
    )
    await person.open("a-sum")
    await person.ask("What is 12 * (3 + 4)?")
    await person.sees("84")
    await expect(person.last.locator(".facts")).to_contain_text("total")
    await person.last.locator(".steps summary").click()


async def versions(person: Person, ollama: FakeOllama) -> None:
    ollama.script.extend([Reply(["Wide at first, then deep."]), Reply(["Deep at first, then **wide**."])])
    await person.open("how-to-read")
    await person.ask("How should I read about the history of Lisbon?")
    await person.state("idle")
    await person.last.get_by_role("button", name="Write this reply again").click()
    await expect(person.page.locator(".versions")).to_be_visible()


async def search(person: Person, ollama: FakeOllama) -> None:
    await answered(person, ollama)
    await person.page.keyboard.press("Control+k")
    await person.page.keyboard.type("mean")
    await expect(person.page.locator("mark").first).to_be_visible()


async def permission(person: Person, ollama: FakeOllama) -> None:
    ollama.default = Reply(["**84**."], tool=ToolCall("calculate", {"expression": "12 * (3 + 4)"}))
    await person.open("a-permission")
    await person.page.click("#agent")
    await person.page.locator("#agents").get_by_role("radio", name="analyst").check()
    await person.page.keyboard.press("Escape")
    await person.ask("What is 12 * (3 + 4)?")
    await expect(person.page.get_by_role("button", name="Allow once")).to_be_visible()


async def allowed(person: Person, ollama: FakeOllama) -> None:
    await permission(person, ollama)
    await person.page.get_by_role("button", name="Allow in this chat").click()
    await person.state("idle")
    await person.page.click("#about")
    await expect(person.page.locator("#answers li")).to_have_count(1)


async def files(person: Person, ollama: FakeOllama) -> None:
    ollama.default = Reply(["A **lighthouse** before sunset. Your notes tell of three lamps; I see one."])
    await person.open("a-lighthouse")
    for question in ("What is this, and does it fit my notes?", "And this one?"):
        await person.box.evaluate(PASTED)
        await expect(person.page.locator("#files .busy")).to_have_count(0)
        if question.startswith("What"):
            notes: Any = {"name": "notes.md", "mimeType": "text/markdown", "buffer": b"# Three lamps\n"}
            await person.page.set_input_files("#pick-file", [notes])
            await expect(person.page.locator("#files .busy")).to_have_count(0)
            await person.ask(question)
            await person.state("idle")
    await person.box.fill("And this one?")


async def error(person: Person, ollama: FakeOllama) -> None:
    await stopped(person, ollama)
    ollama.default = Reply(refuse=True)
    await person.ask("And how does it end?")
    await expect(person.alert).to_be_visible()


async def refused(person: Person, ollama: FakeOllama) -> None:
    await answered(person, ollama)
    problem = (
        '{"code":"redis_unavailable","detail":"The chat memory (Redis) is away. Try again in a few seconds.",'
        '"request_id":"8f41c02d77aa"}'
    )
    await person.page.route(
        "**/api/v1/chat/*?format=json", lambda route: route.fulfill(status=503, body=problem)
    )
    await person.ask("And the median?")
    await expect(person.alert).to_be_visible()


async def reconnecting(person: Person, ollama: FakeOllama) -> None:
    await person.open("a-story")
    await person.page.route("**/api/v1/chat/*?format=json", lambda route: route.abort())
    await person.ask("Tell me a long story.")
    await expect(person.bar).to_be_visible()


async def about(person: Person, ollama: FakeOllama) -> None:
    await answered(person, ollama)
    await person.page.click("#about")


async def settings(person: Person, ollama: FakeOllama) -> None:
    await empty(person, ollama)
    await person.value("document.getElementById('settings-open').click()")
    await expect(person.page.locator("#settings")).to_be_visible()


async def keys(person: Person, ollama: FakeOllama) -> None:
    await empty(person, ollama)
    await person.page.keyboard.press("Control+/")


async def deleted(person: Person, ollama: FakeOllama) -> None:
    await about(person, ollama)
    await person.page.click("#about-delete")


async def status(person: Person, ollama: FakeOllama) -> None:
    await stopped(person, ollama)
    await running(person, ollama)
    await person.open(page="status")
    await expect(person.page.get_by_role("button", name="Stop the run of a-story")).to_be_visible()


async def drawer(person: Person, ollama: FakeOllama) -> None:
    await answered(person, ollama)
    await person.page.click("#menu")
    await expect(person.page.locator("#side")).to_be_in_viewport(ratio=1)


SCENES: list[Scene] = [
    empty, answered, running, queue, stopped, editing, tools, permission, allowed, files,
    versions, search, error, refused, reconnecting, about, settings, keys, deleted, status, drawer,
]  # fmt: skip


LOOKS = (("light", "wide"), ("dark", "phone"))
ALL_LOOKS = tuple(product(("light", "dark"), ("wide", "phone")))


async def take(
    browser: Browser, cluster: Cluster, ollama: FakeOllama, out: Path, scenes: Sequence[Scene]
) -> None:
    looks = ALL_LOOKS if os.environ.get("EVERY") else LOOKS
    for scene, (theme, size) in product(scenes, looks):
        if scene is drawer and size == "wide":
            continue
        context: dict[str, Any] = {
            "viewport": WIDE if size == "wide" else PHONE,
            "color_scheme": theme,
            "reduced_motion": "reduce",
        }
        if size == "phone":
            context |= {"has_touch": True, "is_mobile": True, "device_scale_factor": 1.5}
        async with people(browser, cluster.port, **context) as person:
            await _shoot(scene, person, ollama, out / f"{scene.__name__}-{theme}-{size}.png")
        await _forget(cluster)


async def _forget(cluster: Cluster) -> None:
    """Each view begins with the same few chats at the side."""
    async with cluster.client() as client:
        for row in (await client.get("/api/v1/chats"))["chats"]:
            await client.http.delete(f"/api/v1/chat/{row['chat_id']}")
        for title in ("A trip to Lisbon in May", "Bread without kneading", "Why is the sky blue?"):
            await client.ask(title.lower().replace(" ", "-").strip("?"), title)


async def _shoot(scene: Scene, person: Person, ollama: FakeOllama, path: Path) -> None:
    await scene(person, ollama)
    await person.page.screenshot(path=path)
    print(path)
    person.trouble.clear()
    ollama.forget()


async def main(out: Path, names: Sequence[str]) -> None:
    expect.set_options(timeout=SECONDS)
    scenes = [scene for scene in SCENES if not names or scene.__name__ in names]
    with TemporaryDirectory() as folder:
        where = Path(folder)
        async with FakeOllama() as ollama, PrivateRedis(where) as redis, async_playwright() as playwright:
            careful = (ROOT / "app" / "agents" / "analyst.toml").read_text()
            (where / "analyst.toml").write_text(f'{careful}approve = ["calculate"]\n')
            env = {"PROVIDER": "ollama", "OLLAMA_HOST": ollama.url, "AGENTS_DIR": str(where)}
            async with Cluster(where, redis.url, env=env) as cluster:
                browser = await launch(playwright)
                await _forget(cluster)
                await take(browser, cluster, ollama, out, scenes)
                await browser.close()


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(folder, sys.argv[2:]))
