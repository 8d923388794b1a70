"""The service as the model server of another one: a stop goes through both, and so does what is said."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import HELD, HELD_TEXT, Failure, Reply, ToolCall
from tests.world.invariants import assert_invariants
from tests.world.waiting import eventually

SUM = ToolCall("calculate", {"expression": "12*3"})


@pytest.fixture(scope="module")
async def outer(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_cluster: Cluster
) -> AsyncIterator[Cluster]:
    """A backend whose model is an agent of three others behind Nginx."""
    env = {
        "PROVIDER": "openai",
        "OPENAI_BASE_URL": f"{the_cluster.url}/v1",
        "OPENAI_MODEL_ID": "analyst",
        "REDIS_PREFIX": "outer:",
    }
    async with Cluster(tmp_path_factory.mktemp("outer"), redis_url, env=env, backends=1) as cluster:
        yield cluster


@pytest.fixture
async def chained(outer: Cluster, cluster: Cluster, ollama: FakeOllama) -> AsyncIterator[Client]:
    """A person at the outer one; nothing is left at the inner one afterwards."""
    async with outer.client(1) as client:
        yield client
    await assert_invariants(cluster, models=[ollama])


async def test_what_the_inner_one_says_is_said(chained: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.on(chat_id, Reply(tokens=["Grü", "ß ", "进入\n\n", "- b"], thinking=("hm",), tool=SUM))
    stream = await chained.ask(chat_id, chat_id)
    assert (stream.outcome, stream.text) == ("done", "Grüß 进入\n\n- b")
    thoughts = "".join(event["text"] for event in stream.of("reasoning"))
    assert "hm" in thoughts
    assert "calculate(12*3) = 36" in thoughts
    assert not stream.of("tool"), "the inner one has used it already"
    assert stream.end["usage"] == {"input_tokens": 22, "output_tokens": 5, "exact": True}, "of two calls"
    ollama.on("and then", Reply(tokens=["ok"]))
    await chained.ask(chat_id, "and then")
    (asked,) = ollama.of("and then")
    roles = [message["role"] for message in asked.body["messages"]]
    assert roles == ["system", "user", "assistant", "user"], "what the client sends is what the model sees"
    assert "You are a helpful assistant." in asked.body["messages"][0]["content"]


PHASES = {
    "before the headers": Reply(headers_delay=600),
    "before the first token": Reply(first_delay=600),
    "while it thinks": Reply(thinking=("hm",), tokens=[], fault="stall"),
    "between tokens": HELD,
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_stop_at_the_outer_one_closes_the_model_of_the_inner_one(
    chained: Client, chat_id: str, cluster: Cluster, ollama: FakeOllama, phase: str
) -> None:
    ollama.on(chat_id, PHASES[phase])
    async with chained.chat(chat_id, chat_id) as stream:
        if phase == "between tokens":
            await stream.until_text(HELD_TEXT)
        elif phase == "while it thinks":
            await stream.until(lambda s: bool(s.of("reasoning")))
        else:
            await eventually(lambda: ollama.of(chat_id))
        assert (await chained.stop(chat_id, wait=5000))["result"] == "stopped"
        assert (await stream.rest()).outcome == "stopped"
    (call,) = ollama.of(chat_id)
    await eventually(lambda: not call.is_open, within=10)
    async with cluster.client() as inner:
        await eventually(lambda: _nothing_runs(inner), within=10)
    kept = await chained.messages(chat_id)
    if phase == "between tokens":
        assert (kept[-1]["content"], kept[-1]["outcome"]) == (HELD_TEXT, "stopped")


async def _nothing_runs(client: Client) -> bool:
    return bool((await client.get("/api/v1/runs"))["count"] == 0)


FAILURES = {
    "wrong key": (Failure(401, message="unauthorized"), "model_auth"),
    "unknown model": (Failure(404, message="model 'x' not found"), "model_not_found"),
    "too many": (Failure(429, message="slow down"), "model_throttled"),
    "busy": (Failure(503, message="server busy, please try again."), "model_overloaded"),
    "too long": (Failure(400, message="exceeds the available context size"), "context_overflow"),
    "a fault": (Failure(500, message="oops"), "model_error"),
    "refused": (Failure(400, message="no"), "model_refused"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_of_the_model_is_told_at_the_outer_one_with_its_code(
    chained: Client, chat_id: str, ollama: FakeOllama, name: str
) -> None:
    failure, code = FAILURES[name]
    ollama.on(chat_id, Reply(refuse=True, failure=failure))
    stream = await chained.ask(chat_id, chat_id)
    assert (stream.outcome, stream.end["error"]["code"]) == ("failed", code)
    assert not stream.text


async def test_a_failure_behind_the_first_words_keeps_them(
    chained: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on(chat_id, Reply(fault="error", fault_after=3))
    stream = await chained.ask(chat_id, chat_id)
    assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "model_error")
    assert stream.text == HELD_TEXT
    assert len(ollama.of(chat_id)) == 1


async def test_who_leaves_the_outer_one_closes_the_model_too(
    chained: Client, new_chat: Callable[[], str], ollama: FakeOllama
) -> None:
    chat_id = new_chat()
    ollama.on(chat_id, HELD)
    asked = {"model": "poet", "messages": [{"role": "user", "content": chat_id}], "stream": True}
    async with chained.http.stream("POST", "/v1/chat/completions", json=asked):
        await eventually(lambda: ollama.of(chat_id))
    await eventually(lambda: not ollama.of(chat_id)[0].is_open, within=10)
