"""Files at the page: put to a message, shown in the chat, taken out, folded, refused in words."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import ollama_env
from tests.page.person import Person, people
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, Reply
from tests.world.pictures import png
from tests.world.waiting import eventually

CARDS = "#files .file"
# a picture of noise, so that it weighs what its size says
NOISE = """async ({ width, height, type }) => {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height);
  for (let at = 0; at < image.data.length; at += 65536)
    crypto.getRandomValues(image.data.subarray(at, Math.min(at + 65536, image.data.length)));
  for (let at = 3; at < image.data.length; at += 4) image.data[at] = 255;
  pen.putImageData(image, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, 1));
  const file = new File([blob], "noise." + type.split("/")[1], { type });
  const moved = new DataTransfer();
  moved.items.add(file);
  window.noise = moved;
  return blob.size;
}"""
PASTED = """(it, moved) => {
  const event = new ClipboardEvent("paste", { bubbles: true, cancelable: true });
  Object.defineProperty(event, "clipboardData", { value: moved }); // Firefox takes none for its constructor
  it.dispatchEvent(event);
}"""
PASTE = f"it => ({PASTED})(it, window.noise)"
PASTE_TEXT = f"""(it, text) => {{
  const moved = new DataTransfer();
  moved.setData("text/plain", text);
  ({PASTED})(it, moved);
}}"""
DROP = """it => {
  for (const kind of ["dragover", "drop"])
    it.dispatchEvent(new DragEvent(kind, { dataTransfer: window.noise, bubbles: true, cancelable: true }));
}"""


async def picked(person: Person, *files: tuple[str, str, bytes]) -> None:
    """Choose files as with the button."""
    given: list[Any] = [{"name": name, "mimeType": kind, "buffer": body} for name, kind, body in files]
    await person.page.set_input_files("#pick-file", given)
    await expect(person.page.locator("#files .busy")).to_have_count(0)


async def test_a_picture_and_a_text_go_along_and_are_shown(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await person.open(chat_id)
    await picked(person, ("door.png", "image/png", png(40, 30)), ("notes.md", "text/markdown", b"# Notes\n"))
    await expect(person.page.locator(CARDS)).to_have_count(2)
    await expect(person.page.locator(f"{CARDS} img")).to_have_js_property("naturalWidth", 40)
    await expect(person.box).to_have_attribute("placeholder", "Say what to do with it")
    await person.box.press("Enter")  # no words yet: nothing goes
    await expect(person.questions).to_have_count(0)
    await person.ask("What is this?")
    await person.state("idle")
    await expect(person.page.locator(CARDS)).to_have_count(0)
    sent = ollama.exchanges[-1].body["messages"][-1]
    assert base64.b64decode(sent["images"][0]) == png(40, 30)
    assert "# Notes" in sent["content"]
    for _ in range(2):
        await expect(person.questions.locator("img")).to_have_js_property("naturalWidth", 40)
        await expect(person.questions.locator(".file-name")).to_have_text("notes.md")
        await person.page.reload()
    await person.questions.locator(".file").nth(1).click()
    await expect(person.page.get_by_role("dialog", name="notes.md")).to_contain_text("# Notes")
    assert await person.saves(person.page.get_by_role("button", name="Download")) == "notes.md"
    await person.page.keyboard.press("Escape")
    await person.questions.locator(".file.picture").click()
    await expect(person.page.get_by_role("dialog", name="door.png").locator("img")).to_be_visible()


async def test_a_large_picture_is_pasted_and_dropped_and_made_smaller(
    person: Person, client: Client, chat_id: str
) -> None:
    await person.open(chat_id)
    assert await person.page.evaluate(NOISE, {"width": 1600, "height": 1200, "type": "image/png"}) > 5_000_000
    await person.box.evaluate(PASTE)
    await expect(person.page.locator(CARDS)).to_have_count(1)
    await expect(person.page.locator("#files .busy")).to_have_count(0, timeout=60_000)
    await person.page.evaluate(NOISE, {"width": 3000, "height": 400, "type": "image/jpeg"})
    await person.page.locator("#chat-page").evaluate(DROP)
    await expect(person.page.locator(CARDS)).to_have_count(2)
    await expect(person.page.locator("#files .busy")).to_have_count(0, timeout=60_000)
    await person.ask("And these?")
    await person.state("idle")
    first, second = (await client.messages(chat_id))[0]["files"]
    assert first["bytes"] <= 1024 * 1024
    assert first["width"] * 3 == pytest.approx(first["height"] * 4, rel=0.01)
    assert (second["media_type"], second["width"]) == ("image/jpeg", 2048)


async def test_a_long_text_that_is_pasted_becomes_a_file_and_text_again(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    text = "\n".join(f"line {number} of a long text" for number in range(120))
    await person.open(chat_id)
    await person.box.fill("Shorten this")
    await person.box.evaluate(PASTE_TEXT, text)
    await expect(person.page.locator(f"{CARDS} .file-name")).to_have_text("pasted text.txt")
    await expect(person.box).to_have_value("Shorten this")
    await person.page.get_by_role("button", name="Put it into the box as text").click()
    await expect(person.box).to_have_value(re.compile("line 119 of a long text"))
    await expect(person.page.locator(CARDS)).to_have_count(0)
    await person.box.fill("Shorten this")
    await person.box.evaluate(PASTE_TEXT, text)
    await expect(person.page.locator("#files .busy")).to_have_count(0)
    await person.box.press("Enter")
    await person.state("idle")
    assert "line 119 of a long text" in ollama.exchanges[-1].body["messages"][-1]["content"]
    assert (await client.messages(chat_id))[0]["content"] == "Shorten this"


async def test_files_that_were_not_sent_wait_with_the_draft(person: Person, chat_id: str) -> None:
    await person.open()
    await picked(person, ("door.png", "image/png", png(40, 30)))
    await person.box.fill("half a thou")
    await person.page.reload()
    await expect(person.box).to_have_value("half a thou")
    await expect(person.page.locator(f"{CARDS} img")).to_have_js_property("naturalWidth", 40)
    await person.box.press("Enter")
    await person.state("idle")
    await expect(person.questions.locator("img")).to_have_js_property("naturalWidth", 40)
    await person.page.click("#new-chat")
    await expect(person.page.locator(CARDS)).to_have_count(0)


async def test_files_of_a_message_that_waited_come_back_with_it(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    await person.open(chat_id)
    await person.ask("first")
    await person.sees("word9")
    await picked(person, ("door.png", "image/png", png(40, 30)))
    await person.ask("second")
    await expect(person.page.locator(".unsent img")).to_have_js_property("naturalWidth", 40)
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await expect(person.box).to_have_value("second")
    await expect(person.page.locator(f"{CARDS} img")).to_have_js_property("naturalWidth", 40)
    await person.page.get_by_role("button", name="Take door.png out").click()
    await expect(person.page.locator(CARDS)).to_have_count(0)


async def test_what_cannot_go_along_says_why(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    toast = person.page.locator("#toast")
    for name, kind, body, words in (
        ("a.zip", "application/zip", b"PK\3\4\xff\xfe", "Only pictures and plain texts"),
        ("big.txt", "text/plain", b"x" * 200_000, "A text may have 100 KB"),
        ("odd.tiff", "image/tiff", b"II*\0nonsense", "cannot be read here"),
    ):
        await picked(person, (name, kind, body))
        await expect(toast).to_contain_text(words)
        await expect(person.page.locator(CARDS)).to_have_count(0)
    await picked(person, *[(f"{n}.txt", "text/plain", f"text {n}".encode()) for n in range(5)])
    await expect(toast).to_contain_text("At most 4 files")
    await expect(person.page.locator(CARDS)).to_have_count(4)


async def test_a_model_that_cannot_see_says_so_and_nothing_is_lost(
    browser: Browser, redis_url: str, where: Path, chat_id: str, the_ollama: FakeOllama
) -> None:
    env = {**ollama_env(the_ollama), "VISION": "false"}
    async with (
        Cluster(where, redis_url, env=env, backends=1) as cluster,
        people(browser, cluster.port) as person,
    ):
        await person.open(chat_id)
        await picked(person, ("door.png", "image/png", png(40, 30)))
        await person.ask("What is this?")
        await expect(person.alert).to_contain_text("It cannot see pictures")
        await expect(person.page.locator(".unsent img")).to_be_visible()
        await person.alert.get_by_role("button", name="Change it").click()
        await expect(person.box).to_have_value("What is this?")
        await person.page.get_by_role("button", name="Take door.png out").click()
        await person.box.press("Enter")
        await person.sees("word4")


async def test_writing_again_and_editing_name_the_files_anew(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.script.extend([Reply(["one"]), Reply(["two"]), Reply(["three"])])
    await person.open(chat_id)
    await picked(person, ("door.png", "image/png", png(40, 30)))
    await person.ask("What is this?")
    await person.state("idle")
    await person.last.get_by_role("button", name="Write this reply again").click()
    await person.sees("two")
    await person.state("idle")
    await person.questions.hover()
    await person.questions.get_by_role("button", name="Edit and send again").click()
    await person.page.get_by_label("Edit your question").fill("And now?")
    await person.page.get_by_label("Edit your question").press("Enter")
    await person.sees("three")
    await eventually(lambda: _names(client, chat_id, ["door.png"]))
    await expect(person.questions.locator("img")).to_have_js_property("naturalWidth", 40)


async def _names(client: Client, chat_id: str, names: list[str]) -> bool:
    return [file["name"] for file in (await client.messages(chat_id))[0].get("files", [])] == names


@pytest.mark.chromium_only("Firefox cannot be made a touch screen over WebDriver BiDi")
async def test_a_phone_has_a_camera(browser: Browser, cluster: Cluster, chat_id: str) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 740}, "has_touch": True, "is_mobile": True}
    async with people(browser, cluster.port, **phone) as person:
        await person.open(chat_id)
        camera = person.page.get_by_role("button", name="Take a picture")
        await expect(camera).to_be_visible()
        await expect(person.page.locator("#camera-file")).to_have_attribute("capture", "environment")
        async with person.page.expect_file_chooser() as chooser:
            await camera.tap()
        assert (await chooser.value).is_multiple() is False
        assert await person.value("document.documentElement.scrollWidth <= innerWidth")


async def test_undo_brings_the_files_back(person: Person, client: Client, chat_id: str) -> None:
    await person.open(chat_id)
    await picked(person, ("door.png", "image/png", png(40, 30)), ("notes.md", "text/markdown", b"# Notes"))
    await person.ask("What is this?")
    await person.state("idle")
    wanted = {"title": "A name", "agent": "poet", "instructions": "Briefly.", "temperature": 0.3}
    await client.http.patch(f"/api/v1/chat/{chat_id}", json=wanted)
    lines = (await client.http.get(f"/api/v1/chat/{chat_id}/export?format=jsonl")).content
    before = await client.chat_info(chat_id)
    await person.page.click("#about")
    await person.page.get_by_role("button", name="Delete this chat").click()
    await expect(person.page.locator("#toast")).to_contain_text("Deleted")
    assert (await client.chat_info(chat_id))["status"] == "new"
    await person.page.get_by_role("button", name="Undo").click()
    await expect(person.questions.locator("img")).to_have_js_property("naturalWidth", 40)
    assert await client.chat_info(chat_id) == before
    # with all that only a file tells: who gave the title, the agent that was chosen
    assert (await client.http.get(f"/api/v1/chat/{chat_id}/export?format=jsonl")).content == lines


async def test_a_file_that_is_taken_out_goes_at_the_service_too(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    await person.open(chat_id)
    body = b"# Notes"
    await picked(person, ("notes.md", "text/markdown", body), ("again.md", "text/markdown", body))
    url = f"/api/v1/chat/{chat_id}/files/{hashlib.sha256(body).hexdigest()}"
    out = person.page.locator("#files").get_by_role("button", name=re.compile("^Take "))
    await out.first.click()
    await expect(person.page.locator(CARDS)).to_have_count(1)
    assert (await client.http.get(url)).status_code == 200  # the other one names it
    await out.click()

    async def gone() -> bool:
        return (await client.http.get(url)).status_code == 404

    await eventually(gone)
    await picked(person, ("notes.md", "text/markdown", body))
    await person.ask("What is this?")
    await person.state("idle")
    assert "# Notes" in ollama.exchanges[-1].body["messages"][-1]["content"]
