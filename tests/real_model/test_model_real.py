"""The product with a real model server: what no fake can vouch for."""

import os
import time
import tomllib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.world.client import Client, Stream
from tests.world.cluster import Cluster
from tests.world.processes import ROOT
from tests.world.toy import WINDOW, Toy
from tests.world.waiting import eventually

pytestmark = [
    pytest.mark.skipif(not os.environ.get("REAL_MODEL"), reason="make test-model runs them"),
    pytest.mark.timeout(400),
]

PATIENCE_SECONDS = 150
FREE_SECONDS = 20  # on a quiet machine it takes less than two
FREED_WORK_SECONDS = 2.0  # of its processor: what others take of it does not count
LONG = "the river and the lake and the sea and the rain and the wind " * 60  # about 900 tokens


@pytest.fixture(scope="module")
async def toy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Toy]:
    async with Toy(tmp_path_factory.mktemp("toy")) as toy:
        yield toy


@pytest.fixture(scope="module")
async def product(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, toy: Toy
) -> AsyncIterator[Cluster]:
    """backend-1 lets the model talk, backend-2 answers in short, backend-3 remembers much."""
    env = {
        "PROVIDER": "openai",
        "OPENAI_BASE_URL": f"{toy.url}/v1",
        "OPENAI_MODEL_ID": "smollm2-135m",
        "MODEL_PARALLEL": "1",
    }
    env_of = {
        1: {"MAX_TOKENS": "800"},
        2: {"MAX_TOKENS": "30"},
        3: {"MAX_TOKENS": "30", "MEMORY_MAX_TURNS": "60"},
    }
    where = tmp_path_factory.mktemp("product")
    async with Cluster(where, redis_url, env=env, env_of=env_of) as cluster:
        yield cluster


async def answered(client: Client, chat_id: str, text: str, **more: Any) -> Stream:
    """The whole reply, which takes its time where others use the processor too."""
    async with client.chat(chat_id, text, **more) as stream:
        return await stream.rest(within=PATIENCE_SECONDS)


@pytest.fixture(autouse=True)
async def at_rest(toy: Toy) -> AsyncIterator[None]:
    yield
    await eventually(lambda: toy.is_free, within=FREE_SECONDS, every=0.1)


async def test_it_talks_and_its_own_counts_are_told(product: Cluster, toy: Toy, chat_id: str) -> None:
    question = "Grüße 日本語 👩‍👩‍👧 ½ العربية: say hello."
    prompt = tomllib.loads((ROOT / "app/agents/poet.toml").read_text())["prompt"].strip()
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": question}]
    async with product.client(2) as client:
        stream = await answered(client, chat_id, question, agent="poet")
        assert stream.outcome == "done"
        assert stream.text.strip()
        assert "\ufffd" not in stream.text
        assert (await client.messages(chat_id))[-1]["content"] == stream.text
    usage = stream.end["usage"]
    assert usage["exact"]
    assert usage["input_tokens"] == await toy.tokens(messages), "every byte of the question got there"
    assert 0 < usage["output_tokens"] <= 30


async def test_a_stop_in_the_text_frees_the_slot(product: Cluster, toy: Toy, chat_id: str) -> None:
    async with product.client(1) as client, product.client(2) as other:
        async with client.chat(chat_id, "Tell me a very long story about a lighthouse.") as stream:
            await stream.until(lambda s: len(s.text) > 40, within=PATIENCE_SECONDS)
            assert (await other.stop(chat_id, wait=5000))["result"] == "stopped"
            assert (await stream.rest()).outcome == "stopped"
        await eventually(lambda: toy.is_free, within=FREE_SECONDS, every=0.05)
        assert (await other.messages(chat_id))[-1]["content"] == stream.text


async def test_a_stop_while_the_prompt_is_read_frees_the_slot(
    product: Cluster, toy: Toy, chat_id: str
) -> None:
    before = len(toy.read)
    async with product.client(1) as client, client.chat(chat_id, f"{chat_id}: {LONG}") as stream:
        await stream.until(lambda s: bool(s.of("model")), within=PATIENCE_SECONDS)
        reading = stream.of("model")[0]
        assert (reading["phase"], reading["processed"] < reading["total"]) == ("reading", True)
        asked, worked = time.monotonic(), toy.cpu_seconds
        assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
        await stream.rest()
    await eventually(lambda: toy.is_free, within=FREE_SECONDS, every=0.05)
    took, work = time.monotonic() - asked, toy.cpu_seconds - worked
    print(f"free after {took:.2f} s, in which it worked {work:.2f} s")
    assert len(toy.read) == before, "it read on to the end of the prompt"
    assert work < FREED_WORK_SECONDS, f"free after {took:.2f} s of which it worked {work:.2f} s"
    assert not stream.text


async def test_two_chats_share_the_slot_through_the_line(product: Cluster, toy: Toy, chat_id: str) -> None:
    first, second, taken = f"{chat_id}-a", f"{chat_id}-b", toy.taken
    async with (
        product.client(1) as client,
        product.client(2) as other,
        client.chat(first, "Tell me a very long story about the sea.") as story,
    ):
        await story.until(lambda s: len(s.text) > 20, within=PATIENCE_SECONDS)
        async with other.chat(second, "Say hello.") as waiting:
            await waiting.until(lambda s: bool(s.of("queue")), within=PATIENCE_SECONDS)
            assert (waiting.of("queue")[0]["position"], toy.taken - taken) == (1, 1), "it waits with us"
            await client.stop(first, wait=5000)
            assert (await story.rest()).outcome == "stopped"
            assert (await waiting.rest(within=PATIENCE_SECONDS)).outcome == "done"
    assert waiting.text.strip()
    assert toy.taken - taken == 2


async def test_a_server_that_dies_and_comes_back(product: Cluster, toy: Toy, chat_id: str) -> None:
    async with product.client(1) as client:
        async with client.chat(chat_id, "Tell me a very long story about a king.") as stream:
            await stream.until(lambda s: len(s.text) > 20, within=PATIENCE_SECONDS)
            await toy.kill()
            await stream.rest()
        try:
            assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "model_error")
            assert (await client.messages(chat_id))[-1]["content"] == stream.text
            away = await answered(client, chat_id, "Are you there?")
            assert away.end["error"]["code"] == "model_unavailable"
        finally:
            toy.program.log.write_text("")  # what the killed one began has no end there
            await toy.start()
    async with product.client(2) as client:
        assert (await answered(client, chat_id, "Are you there?")).outcome == "done"


async def test_a_history_beyond_the_window_never_fails(product: Cluster, toy: Toy, chat_id: str) -> None:
    async with product.client(3) as client:
        for n in range(9):
            stream = await answered(client, chat_id, f"Question {n}: what is {LONG[:1200]}?")
            assert stream.outcome == "done", stream.end
            assert stream.end["usage"]["input_tokens"] <= WINDOW - 30
        assert (await client.messages(chat_id))[-1]["facts"]["left_out"] > 0


async def test_the_beginning_of_a_prompt_is_seldom_read_again(
    product: Cluster, toy: Toy, chat_id: str
) -> None:
    before, asked, again, known = len(toy.read), 0, 0, ""
    marks = await toy.tokens([{"role": "user", "content": ""}]) - 12  # but for those around two messages
    async with product.client(2) as client:
        for n in range(10):
            question = f"Question {n}: what do you know about the number {n}?"
            stream = await answered(client, chat_id, question)
            assert stream.outcome == "done"
            new = await toy.tokens([{"role": "user", "content": known + question}]) - marks
            asked += stream.end["usage"]["input_tokens"]
            again += max(0, toy.read[before + n] - new) if n else 0
            known = stream.text
    print(f"{asked} tokens asked, {again} read again: {again / asked:.0%}")
    assert again / asked < 0.3
