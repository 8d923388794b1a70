"""Hostile model text stays text: no script runs, no request leaves the origin, no report of the CSP."""

import asyncio
import os
import random
import re

import pytest
from playwright.async_api import expect

from tests.page.hostile import generated, payloads, tricks
from tests.page.person import Person
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply

PER_CHAT = 90  # a chat keeps 200 messages
TAGS = """
article a blockquote br button code del details div em
footer h2 h3 h4 hr i b u s ins kbd li mark ol p pre small
span strong sub summary sup table tbody td th thead time tr ul svg use
math semantics annotation menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts
mroot mrow mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover
"""

LOOK = """
() => {
  const inside = [...document.querySelectorAll("#log *")];
  const links = inside.filter((element) => element.localName === "a");
  const odd = new Set();
  for (const element of inside) {
    for (const { name } of element.attributes)
      if (/^on|^style$|^src|^data-(?!run)|^name$|^form/.test(name)) odd.add(name);
    if (element.hasAttribute("href") && !["a", "use"].includes(element.localName)) odd.add("href");
    if (element.closest(".text") && element.id) odd.add(`id ${element.id}`);
  }
  return {
    tags: [...new Set(inside.map((element) => element.localName))],
    odd: [...odd],
    links: [...new Set(links.map((link) => `${link.protocol} ${link.target} ${link.rel}`))],
    pwned: window.pwned ?? null,
  };
}
"""

POKE = """
() => {
  for (const element of document.querySelectorAll("#log .text *")) {
    for (const kind of ["mouseover", "pointerenter", "focus", "toggle", "load", "error", "animationstart"])
      element.dispatchEvent(new Event(kind));
    element.focus?.();
    if (element.localName === "summary") element.click();
  }
}
"""


HOSTILE = int(os.environ.get("SOAK_HOSTILE", "24"))  # texts of the generator
SEED = int(os.environ.get("SOAK_HOSTILE_SEED", "1"))
AT_ONCE = 24  # in one chat


# one after the other, as fast as the page allows
ASK = """async (questions) => {
  const box = document.getElementById("box");
  for (const question of questions) {
    const before = document.querySelectorAll(".reply").length;
    const isIdle = () => document.body.dataset.state === "idle";
    const isAnswered = () => isIdle() && document.querySelectorAll(".reply:not(.live)").length > before;
    box.value = question;
    box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    while (!isAnswered()) await new Promise((resolve) => setTimeout(resolve, 10));
  }
}"""


async def test_hundreds_of_hostile_payloads_stay_text(
    person: Person, cluster: Cluster, ollama: FakeOllama
) -> None:
    hostile = payloads()
    assert len(hostile) >= 500
    for number, payload in enumerate(hostile):
        ollama.on(f"#{number}#", Reply([payload]))
    parts = [range(first, min(first + PER_CHAT, len(hostile))) for first in range(0, len(hostile), PER_CHAT)]
    await asyncio.gather(*(_stored(cluster, f"hostile-{part.start}", part) for part in parts))
    for part in parts:
        await person.open(f"hostile-{part.start}")
        await expect(person.replies).to_have_count(len(part), timeout=60_000)
        await _is_calm(person)


@pytest.mark.every_browser
@pytest.mark.timeout(300 + 4 * HOSTILE)
async def test_generated_texts_are_harmless_streamed_and_stored(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    """Each streams into the page in pieces, and is there again after a reload."""
    chance = random.Random(SEED)
    texts = generated(SEED, HOSTILE)
    for first in range(0, len(texts), AT_ONCE):
        part = range(first, min(first + AT_ONCE, len(texts)))
        await person.open(f"{chat_id}-{first}")
        for number in part:
            pieces = re.findall(rf"[\s\S]{{1,{chance.randint(1, 60)}}}", texts[number])
            ollama.on(f"#{number}#", Reply(pieces))
        await person.page.evaluate(ASK, [f"#{number}#" for number in part])
        await expect(person.replies).to_have_count(len(part))
        await _is_calm(person)
        await person.page.reload()
        await expect(person.replies).to_have_count(len(part))
        await _is_calm(person)


async def _stored(cluster: Cluster, chat_id: str, part: range) -> None:
    async with cluster.client() as client:
        for number in part:
            assert (await client.ask(chat_id, f"#{number}#")).outcome == "done"


async def test_hostile_text_is_harmless_while_it_streams(
    person: Person, chat_id: str, ollama: FakeOllama
) -> None:
    text = "\n\n".join(tricks())
    ollama.default = Reply(re.findall(r"[\s\S]{1,3}", text), pace=0.002)
    await person.open(chat_id)
    await person.ask("hello")
    await person.state("idle")
    await expect(person.replies).to_have_count(1)
    await _is_calm(person)


async def _is_calm(person: Person) -> None:
    await person.value(POKE)
    seen = await person.value(LOOK)
    assert seen["pwned"] is None
    assert seen["odd"] == []
    assert set(seen["tags"]) <= set(TAGS.split())
    assert set(seen["links"]) <= {
        f"{scheme} _blank noopener noreferrer nofollow" for scheme in ("http:", "https:", "mailto:")
    }
    assert person.trouble == []
    assert person.foreign_requests == []


async def test_the_answers_carry_the_strict_policy(person: Person, chat_id: str) -> None:
    answer = await person.page.goto(f"{person.origin}/")
    assert answer
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    assert "img-src 'self' blob:;" in policy


async def test_a_question_is_shown_as_it_was_typed(person: Person, chat_id: str) -> None:
    await person.open(chat_id)
    await person.ask("<img src=x onerror=alert(1)> **not bold** `x`")
    await expect(person.questions.locator(".bubble")).to_have_text(
        "<img src=x onerror=alert(1)> **not bold** `x`"
    )
    await person.state("idle")
