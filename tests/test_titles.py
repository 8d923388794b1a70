"""The names of chats: first words without marks, and names from the model where it is asked for them."""

from collections.abc import AsyncIterator

import pytest

from app.store.titles import title_of
from tests.conftest import ollama_env
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import FLOWING, Reply
from tests.world.waiting import eventually

NAMES = "Title:"  # what only a request for a name holds


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("hello there", "hello there"),
        ("# A **bold** heading\n\nand _more_", "A bold heading and more"),
        ("> quoted `code` and ~~gone~~", "quoted code and gone"),
        ("- one\n- two\n1. three", "one two three"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("see [the docs](https://x.example/a?b=c) and ![a cat](cat.png)", "see the docs and a cat"),
        ("what is 12*(3+4), and f(a)*g(b)?", "what is 12*(3+4), and f(a)*g(b)?"),
        ("snake_case and 2 * 3 * 4 = 24", "snake_case and 2 * 3 * 4 = 24"),
        ("a-b - c, C# and F#", "a-b - c, C# and F#"),
        ("***", "***"),
        ("Grüße an alle " * 9, "Grüße an alle Grüße an alle Grüße an alle Grüße an alle…"),
    ],
)
def test_a_title_is_the_first_words_without_marks(message: str, title: str) -> None:
    assert title_of(message) == title


@pytest.fixture(scope="module")
async def the_naming(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama
) -> AsyncIterator[Cluster]:
    env = {**ollama_env(the_ollama), "TITLES": "model"}
    async with Cluster(tmp_path_factory.mktemp("naming"), redis_url, env=env, backends=1) as cluster:
        yield cluster


@pytest.fixture
def naming(the_naming: Cluster, ollama: FakeOllama) -> Cluster:
    return the_naming


async def test_the_model_names_a_chat_after_its_first_reply(
    naming: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on(NAMES, Reply(tokens=['"**Trains', " to Rome**", '"\n', "because"]))
    async with naming.client() as client:
        await client.ask(chat_id, "how do I get to rome")

        async def is_named() -> bool:
            return bool((await client.chat_info(chat_id))["title"] == "Trains to Rome")

        await eventually(is_named)
        await client.ask(chat_id, "and back")
        (asked,) = ollama.of(NAMES)
        assert "how do I get to rome" in asked.asked
        assert Reply().text in asked.asked
        assert asked.body["options"]["num_predict"] == 16
        assert not asked.body.get("tools")
        assert len(await client.messages(chat_id)) == 4


async def test_a_name_given_by_a_person_stays(naming: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    slow = ollama.on(NAMES, Reply(tokens=["Never ", "this"], first_delay=1.0))
    async with naming.client() as client:
        await client.ask(chat_id, "hello")
        await eventually(lambda: ollama.of(NAMES))
        answer = await client.http.patch(f"/api/v1/chat/{chat_id}", json={"title": "hello"})
        assert answer.status_code == 200
        await eventually(lambda: ollama.of(NAMES)[0].finished_at is not None)
        await client.ask(chat_id, "more")
        assert (await client.chat_info(chat_id))["title"] == "hello"
    assert slow.first_delay


@pytest.mark.parametrize("trouble", ["error", "malformed", "drop", "empty", "stall"])
async def test_a_model_that_finds_no_name_harms_nothing(
    naming: Cluster, chat_id: str, ollama: FakeOllama, trouble: str
) -> None:
    ollama.on(NAMES, Reply(tokens=0) if trouble == "empty" else Reply(tokens=0, fault=trouble))  # type: ignore[arg-type]  # one of them
    async with naming.client() as client:
        assert (await client.ask(chat_id, "hello")).outcome == "done"
        await eventually(lambda: ollama.of(NAMES))
        assert (await client.ask(chat_id, "more")).outcome == "done"
        assert (await client.chat_info(chat_id))["title"] == "hello"


async def test_a_stopped_reply_gives_no_name(naming: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = FLOWING
    async with naming.client() as client, client.chat(chat_id, "unnamed") as stream:
        await stream.until_text("word0")
        await client.stop(chat_id, wait=5000)
        await stream.rest()
    assert [one for one in ollama.of("unnamed") if NAMES in one.asked] == []
