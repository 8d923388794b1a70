"""Nothing lost: refresh, other tabs, other devices, broken connections, killed backends, drafts."""

import re
from pathlib import Path

from playwright.async_api import Browser, Route, expect

from tests.page.person import Person, another_tab, people
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.proxy import FaultProxy
from tests.world.fakes.reply import HELD, HELD_TEXT, Reply
from tests.world.redis_server import PrivateRedis
from tests.world.waiting import eventually

SLOW = Reply(tokens=150, pace=0.02)
WHOLE = SLOW.text.strip()


async def test_a_refresh_in_mid_reply_shows_the_whole_reply_once(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = SLOW
    await person.open(chat_id)
    await person.ask("alpha")
    await person.sees("word20 ")
    await person.page.reload()
    await expect(person.text).to_have_text(WHOLE)
    await expect(person.replies).to_have_count(1)
    await person.state("idle")
    assert len(ollama.of("alpha")) == 1


async def test_a_broken_connection_goes_on_after_the_last_event_seen(
    browser: Browser, cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = SLOW
    resumed: list[str] = []
    async with FaultProxy("127.0.0.1", cluster.port) as way, people(browser, way.port) as person:
        person.page.on("request", lambda it: resumed.append(it.headers.get("last-event-id", "")))
        await person.open(chat_id)
        await person.ask("bravo")
        await person.sees("word20 ")
        way.refuse = True
        way.cut()
        await person.state("resuming")
        await expect(person.bar).to_contain_text("Reconnecting, your answer is safe")
        assert "word20 " in await person.text.inner_text()
        way.heal()
        await person.bar.get_by_role("button", name="Try now").click()
        await person.state("idle")
        await expect(person.bar).to_be_hidden()
        await expect(person.text).to_have_text(WHOLE)
    assert any(re.fullmatch(r"\w+:\d+", header) for header in resumed)
    assert len(ollama.of("bravo")) == 1


async def test_a_question_lost_on_its_way_is_asked_again_but_never_twice(
    browser: Browser, cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(first_delay=0.5)
    asked: list[str] = []
    async with FaultProxy("127.0.0.1", cluster.port) as way, people(browser, way.port) as person:
        starts = re.compile(r"/api/v1/chat/[^/]+\?format=json")
        person.page.on(
            "request", lambda it: asked.append(str(it.post_data)) if starts.search(it.url) else None
        )
        await person.open(chat_id)
        await person.page.wait_for_load_state("networkidle")
        way.delay = 30  # the question arrives, the answer does not come back
        await person.ask("charlie")
        await eventually(lambda: ollama.of("charlie"))
        way.refuse = True
        way.cut()
        await person.state("resuming")
        await expect(person.bar).to_contain_text("Reconnecting, your message is safe")
        way.heal()
        await person.sees("word4")
        await person.state("idle")
        await expect(person.questions).to_have_count(1)
        person.trouble.clear()  # what shows replies was asked for on the same broken way
    assert len(asked) > 1
    assert len(set(asked)) == 1
    assert len(ollama.of("charlie")) == 1


async def test_a_second_tab_and_another_device_show_the_same(
    person: Person, browser: Browser, cluster: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(tokens=50, pace=0.02, fault="stall", fault_after=40)
    await person.open(chat_id)
    tab = await another_tab(person.page.context, cluster.port)
    await tab.open(chat_id)
    await expect(tab.page.locator("#empty")).to_be_visible()
    await person.ask("delta")
    await tab.sees("word20 ")
    async with people(browser, cluster.port) as device:
        await device.open(chat_id)
        await device.sees("word30 ")
        await device.button.click()
        await device.state("idle")
    for one in (person, tab):
        await one.state("idle")
        await expect(one.last.locator(".stopped")).to_contain_text("Stopped")


async def test_leaving_a_chat_and_coming_back_finds_the_reply(
    person: Person, new_chat: object, ollama: FakeOllama
) -> None:
    ollama.default = SLOW
    await person.open("one")
    await person.ask("echo")
    await person.sees("word5 ")
    await person.page.click("#new-chat")
    await expect(person.page.locator("#empty")).to_be_visible()
    await expect(person.chats.first.locator(".dot")).to_be_visible()
    await person.page.go_back()
    await expect(person.text).to_have_text(WHOLE)


async def test_the_text_stays_when_the_backend_is_killed_and_one_can_go_on(
    browser: Browser, redis_url: str, where: Path, chat_id: str, the_ollama: FakeOllama
) -> None:
    the_ollama.forget()
    the_ollama.on("foxtrot", HELD)
    env = {"PROVIDER": "ollama", "OLLAMA_HOST": the_ollama.url}
    async with Cluster(where, redis_url, env=env) as cluster, people(browser, cluster.port) as person:
        await person.open(chat_id)
        await person.ask("foxtrot")
        await person.sees(HELD_TEXT.strip())
        backend = await person.last.locator(".badge").inner_text()
        await cluster.kill(cluster.number(backend))
        await expect(person.alert).to_contain_text("Interrupted")  # noticed within 15 s
        await expect(person.alert).to_contain_text(re.compile("backend", re.I))
        await expect(person.text).to_have_text(HELD_TEXT.strip())
        await person.state("idle")
        await person.alert.get_by_role("button", name="Continue").click()
        whole = f"{HELD_TEXT}{Reply().text}".strip()
        await expect(person.text).to_have_text(whole)
        await person.page.reload()
        await expect(person.replies).to_have_count(1)
        await expect(person.text).to_have_text(whole)


async def test_what_is_read_late_takes_nothing_away(person: Person, client: Client, chat_id: str) -> None:
    await client.ask(chat_id, "one")
    await person.open(chat_id)
    await expect(person.replies).to_have_count(1)
    late: list[Route] = []

    async def hold(route: Route) -> None:
        if late or route.request.method != "GET":
            await route.continue_()
        else:
            late.append(route)

    await person.page.route(f"**/api/v1/chat/{chat_id}", hold)
    await client.ask(chat_id, "two")
    await person.value("new BroadcastChannel('chat').postMessage('changed')")
    await eventually(lambda: bool(late))
    then = await client.chat_info(chat_id)  # what is read now is on its way for a while
    await person.ask("three")
    await person.sees("word4")
    await person.state("idle")
    async with person.page.expect_response(f"**/api/v1/chat/{chat_id}"):
        await late[0].fulfill(json=then)
    await person.value("fetch('/api/v1/chats').then(() => 0)")
    await expect(person.questions.locator(".bubble")).to_have_text(["one", "two", "three"])
    await expect(person.replies).to_have_count(3)


async def test_everything_restarts_and_the_page_finds_its_way_back(
    browser: Browser, redis_url: str, where: Path, chat_id: str, the_ollama: FakeOllama
) -> None:
    the_ollama.forget()
    env = {"PROVIDER": "ollama", "OLLAMA_HOST": the_ollama.url}
    async with (
        Cluster(where, redis_url, env=env, backends=1) as cluster,
        people(browser, cluster.port) as person,
    ):
        await person.open(chat_id)
        await person.page.wait_for_load_state("networkidle")
        await cluster.kill(1)
        await person.ask("golf")
        await person.state("resuming")
        await expect(person.bar).to_contain_text("Reconnecting, your message is safe")
        await cluster.start_again(1)
        await person.sees("word4")
        await person.state("idle")
        assert len(the_ollama.of("golf")) == 1
        person.trouble.clear()  # what shows replies was asked for while nobody was there


async def test_a_page_whose_files_did_not_all_arrive_tries_again(person: Person, chat_id: str) -> None:
    await person.page.route("**/static/turns.js", lambda route: route.abort(), times=1)
    await person.open(chat_id)
    await expect(person.page.locator("#agent")).to_be_visible()
    assert sum(url.endswith("/static/turns.js") for url in person.requests) == 2
    person.trouble.clear()  # the file that was kept back


async def test_what_is_typed_before_the_page_has_begun_is_kept(person: Person, chat_id: str) -> None:
    held: list[Route] = []
    for typed, kept in (("too early", "too early"), ("and again", "too early\n\nand again")):
        await person.page.route("**/static/main.js", lambda route: held.append(route))  # noqa: PLW0108
        await person.page.goto(f"{person.origin}/?{len(kept)}#/chat/{chat_id}", wait_until="commit")
        await person.box.fill(typed)
        await eventually(lambda: bool(held))
        await held.pop().continue_()
        await person.page.unroute_all(behavior="wait")
        await expect(person.page.locator("html[data-begun]")).to_be_attached()
        await expect(person.box).to_have_value(kept)
    await person.box.press("Enter")
    await person.sees("word4")


async def test_drafts_are_kept_per_chat(person: Person) -> None:
    await person.open("draft-1")
    await person.box.fill("not yet sent")
    await person.open("draft-2")
    await expect(person.box).to_have_value("")
    await person.box.fill("another")
    await person.page.reload()
    await expect(person.box).to_have_value("another")
    await person.open("draft-1")
    await expect(person.box).to_have_value("not yet sent")
    await person.box.press("Enter")
    await person.state("idle")
    await person.page.reload()
    await expect(person.replies).to_have_count(1)
    await expect(person.box).to_have_value("")


async def test_redis_away_and_model_away_look_different(
    browser: Browser, where: Path, chat_id: str, the_ollama: FakeOllama
) -> None:
    the_ollama.forget()
    env = {"PROVIDER": "ollama", "OLLAMA_HOST": the_ollama.url}
    async with (
        PrivateRedis(where) as redis,
        Cluster(where, redis.url, env=env, backends=1) as cluster,
        people(browser, cluster.port) as person,
    ):
        the_ollama.on("model", Reply(refuse=True))
        await person.open(chat_id)
        await person.ask("model")
        await expect(person.alert).to_contain_text("The model could not answer")
        await expect(person.alert).to_have_attribute("role", "alert")
        the_ollama.forget()
        await person.alert.get_by_role("button", name="Try again").click()
        await person.sees("word4")
        await expect(person.questions).to_have_count(1)  # retry does not repeat the question
        await person.state("idle")
        await redis.program.end()
        await person.ask("memory")
        await expect(person.alert).to_contain_text("Memory is away")
        await expect(person.alert.get_by_role("button", name="Copy the id")).to_be_visible()
        await expect(person.page.locator(".unsent")).to_contain_text("memory")
        await redis.start()
        await eventually(lambda: _sent(person), within=30, every=0.5)
        await person.sees("word4")
        assert len(the_ollama.of("memory")) == 1


async def _sent(person: Person) -> bool:
    """Tries again, as often as the answer is that the memory is still away."""
    again = person.alert.get_by_role("button", name="Try again")
    if await again.count():
        await again.click()
    return await person.page.locator(".unsent").count() == 0 and await person.replies.count() > 0
