"""What a newcomer can click in the demo is answered with what it says."""

import pytest
from playwright.async_api import expect

from tests.page.person import Person

ANSWERS = {
    "Tell me a long story": (".level-1", "lighthouse"),
    "What time is it?": (".steps summary", "current_time"),
    "Show me a short Python example": (".code-box:has(.code-head span:text('python')) code", "def "),
    "What can you do?": (".block:has(strong:text('demo model')) ~ .block pre", "PROVIDER"),
}


@pytest.mark.parametrize("words", ANSWERS)
async def test_a_suggestion_is_answered_with_what_it_asks_for(words: str, visitor: Person) -> None:
    await visitor.open()
    await visitor.page.get_by_role("button", name=words, exact=True).click()
    place, said = ANSWERS[words]
    await expect(visitor.last.locator(place).first).to_contain_text(said)
    assert (said == "PROVIDER") == ("PROVIDER" in await visitor.text.inner_text())
    await expect(visitor.questions.locator(".bubble")).to_have_text(words)
    await visitor.page.keyboard.press("Escape")
    await visitor.state("idle")


async def test_there_is_an_answer_for_every_suggestion(visitor: Person) -> None:
    await visitor.open()
    assert await visitor.page.locator("[data-ask]").all_inner_texts() == list(ANSWERS)
