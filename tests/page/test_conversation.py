"""What people do with a conversation: messages that wait, replies that go on, versions, branches."""

import re

from playwright.async_api import expect

from tests.page.person import Person, another_tab
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, HELD, HELD_TEXT, Failure, Reply
from tests.world.waiting import eventually

WAITING = ".unsent .bubble"


async def test_messages_typed_while_a_reply_runs_are_answered_in_their_order(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", FLOWING)
    await person.open(chat_id)
    await person.ask("first")
    await person.sees("word9")
    for text in ("second", "third", "fourth"):
        await person.ask(text)
    await expect(person.page.locator(WAITING)).to_have_text(["second", "third", "fourth"])
    await eventually(lambda: _queued(client, chat_id, ["second", "third", "fourth"]))
    await person.page.reload()  # they wait at the service, not in the page
    await expect(person.page.locator(WAITING)).to_have_text(["second", "third", "fourth"])
    await person.page.click("#new-chat")  # nor does it matter who looks
    await expect(person.page.locator(WAITING)).to_have_count(0)
    await person.page.go_back()
    await expect(person.page.locator(WAITING)).to_have_text(["second", "third", "fourth"])
    assert await _queued(client, chat_id, ["second", "third", "fourth"])
    await person.page.locator(".unsent").nth(1).get_by_role("button", name="Take back").click()
    await expect(person.box).to_have_value("third")
    await expect(person.page.locator(WAITING)).to_have_text(["second", "fourth"])
    await eventually(lambda: _queued(client, chat_id, ["second", "fourth"]))
    first = (await client.chat_info(chat_id))["run"]["run_id"]
    await client.stop(chat_id, run_id=first)
    await expect(person.questions.locator(".bubble")).to_have_text(["first", "second", "fourth"])
    await expect(person.replies).to_have_count(3)
    await person.state("idle")
    await expect(person.page.locator(WAITING)).to_have_count(0)
    assert [
        message["content"] for message in await client.messages(chat_id) if message["role"] == "user"
    ] == [
        "first",
        "second",
        "fourth",
    ]
    assert await person.box.input_value() == "third"


async def _queued(client: Client, chat_id: str, texts: list[str]) -> bool:
    return [it["message"] for it in (await client.chat_info(chat_id))["queued"]] == texts


async def test_a_stop_hands_back_what_waits_and_keeps_the_draft(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    await person.open(chat_id)
    await person.ask("first")
    await person.sees("word9")
    await person.ask("second")
    await person.ask("third")
    await eventually(lambda: _queued(client, chat_id, ["second", "third"]))
    await person.box.fill("half a thou")
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await expect(person.box).to_have_value("second\n\nthird\n\nhalf a thou")
    await expect(person.page.locator(WAITING)).to_have_count(0)
    await expect(person.last.locator(".stopped")).to_contain_text("Stopped in")
    assert await _queued(client, chat_id, [])
    assert len(await client.messages(chat_id)) == 2
    await person.page.reload()
    await expect(person.box).to_have_value("second\n\nthird\n\nhalf a thou")


async def test_a_stop_in_a_chat_that_was_left_keeps_what_waited_as_its_draft(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    await person.open(chat_id)
    await person.ask("first")
    await person.sees("word9")
    await person.ask("second")
    await eventually(lambda: _queued(client, chat_id, ["second"]))
    held: list[object] = []

    async def late(route: object) -> None:
        held.append(route)

    await person.page.route("**/api/v1/stop/**", late)
    await person.page.keyboard.press("Escape")
    await eventually(lambda: bool(held))
    await person.page.click("#new-chat")
    await expect(person.questions).to_have_count(0)
    await held[0].continue_()  # type: ignore[attr-defined]
    await eventually(lambda: _queued(client, chat_id, []))
    await person.page.unroute_all()
    await person.page.go_back()
    await expect(person.box).to_have_value("second")


async def test_one_that_waits_is_sent_now(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", FLOWING)
    await person.open(chat_id)
    await person.ask("first")
    await person.sees("word9")
    await person.ask("second")
    await person.ask("third")
    await eventually(lambda: _queued(client, chat_id, ["second", "third"]))
    await person.page.locator(".unsent").nth(1).get_by_role("button", name="Send now").click()
    await expect(person.questions.locator(".bubble")).to_have_text(["first", "third", "second"])
    await expect(person.replies.first.locator(".stopped")).to_be_visible()
    await person.state("idle")
    await expect(person.page.locator(WAITING)).to_have_count(0)
    await eventually(lambda: ollama.open_streams == 0)


async def test_one_that_the_service_does_not_take_is_in_the_box_again(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = FLOWING
    await person.open(chat_id)
    await person.ask("first")
    await person.sees("word9")
    for number in range(10):
        body = {"message": f"waits {number}", "on_busy": "queue"}
        assert (await client.http.post(f"/api/v1/chat/{chat_id}", json=body)).status_code == 202
    await person.ask("one too many")
    await expect(person.page.locator("#toast")).to_contain_text("wait")
    await expect(person.box).to_have_value("one too many")
    assert len((await client.stop(chat_id, wait=5000))["unsent"]) == 10
    await person.state("idle")


async def test_another_tab_sees_what_waits_and_the_reply_that_follows(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("first", HELD)
    await person.open(chat_id)
    await person.ask("first")
    await person.sees(HELD_TEXT.strip())
    await person.ask("second")
    await eventually(lambda: _queued(client, chat_id, ["second"]))
    other = await another_tab(person.page.context, int(person.origin.rsplit(":", 1)[1]))
    await other.open(chat_id)
    await expect(other.page.locator(WAITING)).to_have_text(["second"])
    await client.stop(chat_id, run_id=(await client.chat_info(chat_id))["run"]["run_id"])
    for one in (person, other):
        await expect(one.questions).to_have_count(2)
        await one.sees("word4")
        await one.state("idle")
    assert not other.trouble


async def test_a_stopped_reply_goes_on_as_one(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("hello", HELD)
    ollama.on("Go on", Reply(tokens=["and ", "more"]))
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await person.last.get_by_role("button", name="Continue").click()
    await person.sees(f"{HELD_TEXT}and more")
    await person.state("idle")
    await expect(person.replies).to_have_count(1)
    await expect(person.questions).to_have_count(1)
    await expect(person.last.locator(".stopped")).to_have_count(0)
    await expect(person.page.get_by_role("button", name="Continue")).to_have_count(0)
    await expect(person.last.locator(".facts")).to_contain_text("continued 1 time")
    await person.page.reload()
    await person.sees(f"{HELD_TEXT}and more")
    _, reply = await client.messages(chat_id)
    assert (reply["content"], reply["outcome"]) == (f"{HELD_TEXT}and more", "done")


async def test_a_reload_while_a_reply_goes_on_and_a_stop_of_it(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("hello", HELD)
    ollama.on("Go on", FLOWING)
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await person.last.get_by_role("button", name="Continue").click()
    await person.sees("word9")
    await person.page.reload()
    await person.sees(re.compile(f"^{HELD_TEXT}word0 .* word9"))
    await expect(person.replies).to_have_count(1)
    await person.state("running")
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    shown = (await person.text.inner_text()).strip()
    _, reply = await client.messages(chat_id)
    assert reply["content"].strip() == shown
    await expect(person.last.get_by_role("button", name="Continue")).to_be_visible()


async def test_a_reply_cut_by_its_length_or_a_failure_goes_on(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.script.append(Reply(["one "], stop_reason="length"))
    ollama.script.append(Reply(["two ", "three"], fault="error", fault_after=1, failure=Failure()))
    ollama.script.append(Reply(["four"]))
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees("one")
    await person.state("idle")
    await person.last.get_by_role("button", name="Continue").click()
    await expect(person.alert.get_by_role("button", name="Continue")).to_be_visible()
    await person.sees("one two")
    await person.alert.get_by_role("button", name="Continue").click()
    await person.sees("one two four")
    await person.state("idle")
    await expect(person.alert).to_have_count(0)
    await expect(person.replies).to_have_count(1)


async def test_a_reply_that_cannot_go_on_any_more_says_so(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on("hello", HELD)
    await person.page.route("**/api/v1/chats?**", lambda route: route.abort())  # it learns of nothing
    await person.open(chat_id)
    await person.ask("hello")
    await person.sees(HELD_TEXT.strip())
    await person.page.keyboard.press("Escape")
    await person.state("idle")
    await client.ask(chat_id, "more")
    await person.last.get_by_role("button", name="Continue").click()
    await expect(person.alert).to_be_visible()
    await person.state("idle")
    await person.sees(HELD_TEXT.strip())
    await expect(person.last.locator(".stopped")).to_be_visible()


async def test_nothing_is_destroyed_by_asking_again(
    person: Person, client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    for text in ("one", "two", "three", "four", "five"):
        ollama.script.append(Reply([text]))
    await person.open(chat_id)
    for text in ("first", "second", "third"):
        await person.ask(text)
        await person.state("idle")
    await person.replies.first.get_by_role("button", name="Write this reply again").click()
    await person.sees("four")
    await expect(person.replies).to_have_count(1)
    count = person.questions.locator(".count")
    await expect(count).to_have_text("2/2")
    await person.page.get_by_role("button", name="The version before").click()
    await expect(person.questions.locator(".bubble")).to_have_text(["first", "second", "third"])
    await expect(person.replies.locator(".text")).to_have_text(["one", "two", "three"])
    await expect(count).to_have_text("1/2")
    await person.questions.first.hover()
    await person.questions.first.get_by_role("button", name="Edit and send again").click()
    await person.page.get_by_label("Edit your question").fill("other")
    await person.page.get_by_label("Edit your question").press("Enter")
    await person.sees("five")
    await expect(count).to_have_text("3/3")
    await person.page.reload()
    await person.page.get_by_role("button", name="The version before").click()
    await expect(count).to_have_text("2/3")
    await person.sees("four")
    await expect(person.page.locator(".versions")).to_be_visible()


async def test_a_branch_leaves_the_other_chat_as_it_is(
    person: Person, client: Client, chat_id: str, cluster: Cluster
) -> None:
    for text in ("first", "second", "third"):
        await client.ask(chat_id, text)
    await person.open(chat_id)
    await expect(person.replies).to_have_count(3)
    await person.replies.nth(1).get_by_role("button", name="Branch").click()
    await expect(person.page).not_to_have_url(re.compile(f"{chat_id}$"))
    await expect(person.questions.locator(".bubble")).to_have_text(["first", "second"])
    await expect(person.page.locator("#rename")).to_have_text("first (branch)")
    await expect(person.page.locator("#toast")).to_contain_text("branch")
    await expect(person.page.locator("#chats a[aria-current] .title")).to_have_text("first (branch)")
    await person.ask("other")
    await person.state("idle")
    assert len(await client.messages(chat_id)) == 6
