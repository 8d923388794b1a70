"""What servers that speak OpenAI's API do differently, and that a reply is the same with each of them."""

import random
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.agents.models.openai_wire import Answer
from tests.conftest import FAKE_OPENAI_KEY, openai_env
from tests.world.client import Client
from tests.world.cluster import Cluster
from tests.world.fakes.openai import LAST_WORDS, Dialect, FakeOpenAI
from tests.world.fakes.reply import Failure, Reply, ToolCall
from tests.world.processes import Program
from tests.world.sides import NUMBER
from tests.world.waiting import eventually

LLAMA_CPP = {"default_generation_settings": {"n_ctx": 2048}, "chat_template_caps": {"supports_tools": True}}
SUM = Reply(tokens=["It is ", "42."], tool=ToolCall("calculate", {"expression": "6 * 7"}), thinking=["hm"])


@pytest.fixture
async def client(mixed: Cluster, openai: FakeOpenAI) -> AsyncIterator[Client]:
    """A person at the backend with the OpenAI-compatible server."""
    async with mixed.client(NUMBER["openai"]) as client:
        yield client


async def test_it_is_asked_as_openai_says(client: Client, chat_id: str, openai: FakeOpenAI) -> None:
    await client.ask(chat_id, "hello", agent="poet")
    (exchange,) = openai.of("hello")
    assert exchange.body["model"] == "default"
    assert exchange.body["stream"] is True
    assert exchange.body["stream_options"] == {"include_usage": True}
    assert [m["role"] for m in exchange.body["messages"]] == ["system", "user"]
    assert "tools" not in exchange.body
    assert "return_progress" not in exchange.body


TEXTS: dict[str, Dialect] = {
    "OpenAI": Dialect(),
    "vLLM, thoughts as reasoning": Dialect(thoughts="reasoning"),
    "LM Studio, thoughts in the text": Dialect(thoughts="<think>"),
    "finish with the last words": Dialect(finish_with_last=True),
    "usage with the finish": Dialect(usage="with"),
    "no [DONE]": Dialect(done=False),
    "comments": Dialect(comments=True),
    "CR LF": Dialect(crlf=True),
    "progress": Dialect(reads=200),
    "no stream": Dialect(whole=True),
    "loading": Dialect(loading=1),
}


@pytest.mark.parametrize("name", TEXTS)
async def test_the_reply_is_the_same_in_every_dialect(
    client: Client, chat_id: str, openai: FakeOpenAI, name: str
) -> None:
    dialect = TEXTS[name]
    openai.speak(dialect)
    openai.default = Reply(
        tokens=["Grü", "ß ", "👩‍👩‍👧 "], thinking=() if dialect.whole else ["hm, ", "so"], torn=True
    )
    stream = await client.ask(chat_id, "hello")
    said = openai.default.text + (LAST_WORDS if dialect.finish_with_last else "")
    assert (stream.text, stream.outcome) == (said, "done")
    thought = "".join(event["text"] for event in stream.of("reasoning"))
    assert thought.strip() == "".join(openai.default.thinking)
    assert stream.end["usage"] == {"input_tokens": 11, "output_tokens": 3, "exact": True}
    assert (await client.messages(chat_id))[-1]["content"] == said


async def test_without_usage_it_is_estimated_and_says_so(
    client: Client, chat_id: str, openai: FakeOpenAI
) -> None:
    openai.speak(Dialect(usage="none"))
    stream = await client.ask(chat_id, "hello")
    assert stream.end["usage"]["exact"] is False
    assert stream.end["usage"]["output_tokens"] > 0


CALLS: dict[str, Dialect] = {
    "in one-byte pieces": Dialect(arguments=1),
    "whole, as a string": Dialect(arguments=1000),
    "whole, as an object": Dialect(arguments=0),
    "without index": Dialect(index=False),
    "ids null": Dialect(ids="null"),
    "ids missing": Dialect(ids="missing"),
    "no ids, no index": Dialect(ids="missing", index=False),
    "thoughts as reasoning": Dialect(thoughts="reasoning"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_tool_is_called_in_every_dialect(
    client: Client, chat_id: str, openai: FakeOpenAI, name: str
) -> None:
    openai.speak(CALLS[name])
    openai.default = SUM
    stream = await client.ask(chat_id, "six times seven", agent="sleeper")
    assert [(event["name"], event["status"]) for event in stream.of("tool")] == [
        ("calculate", "running"), ("calculate", "done"),
    ]  # fmt: skip
    assert stream.of("tool")[0]["input"] == {"expression": "6 * 7"}
    assert (stream.text, stream.outcome) == ("It is 42.", "done")
    asked = openai.of("six times seven")[1].body["messages"]
    assert asked[-1]["content"] == "42"
    assert asked[-2]["tool_calls"][0]["id"] == asked[-1]["tool_call_id"]
    thoughts = openai.dialect.thoughts
    assert asked[-2].get(thoughts) == "hm", "a model that thinks gets its thoughts back between its calls"


@pytest.mark.parametrize("index", [True, False])
async def test_tools_called_at_once_do_not_mix(
    client: Client, chat_id: str, openai: FakeOpenAI, index: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [ToolCall("calculate", {"expression": f"{n} * 10"}, f"call_{n}") for n in (1, 2, 3)]
    openai.speak(Dialect(arguments=1, index=index))
    monkeypatch.setattr(openai, "tool_call", lambda _: openai.tool_calls(calls))
    openai.default = SUM
    stream = await client.ask(chat_id, "three at once", agent="sleeper")
    done = {event["tool_use_id"]: event["output"] for event in stream.of("tool") if event["status"] == "done"}
    assert done == {"call_1": "10", "call_2": "20", "call_3": "30"}
    assert stream.text == "It is 42."


@pytest.mark.parametrize("errors", ["data", "line"])
@pytest.mark.parametrize("after", [0, 3])
async def test_an_error_in_the_stream_is_none_of_the_text(
    client: Client, chat_id: str, openai: FakeOpenAI, errors: Any, after: int
) -> None:
    openai.speak(Dialect(errors=errors))
    openai.default = Reply(fault="error", fault_after=after)
    stream = await client.ask(chat_id, "hello")
    assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "model_error")
    assert stream.text == "".join(f"word{n} " for n in range(after))
    assert "provider-secret-detail" not in stream.raw.decode()


REFUSALS = {
    "wrong key": (Failure(401, "invalid_api_key", "Incorrect API key provided"), "model_auth"),
    "no such model": (Failure(404, "model_not_found", "The model `x` does not exist"), "model_not_found"),
    "no such model, told with 400": (
        Failure(400, "model_not_found", "Invalid model name"),
        "model_not_found",
    ),
    "too many": (Failure(429, "rate_limit_exceeded", "slow down"), "model_throttled"),
    "llama.cpp, too long": (
        Failure(400, "exceed_context_size_error", "request (6030 tokens) exceeds the available context size"),
        "context_overflow",
    ),
    "vLLM, too long": (
        Failure(400, "BadRequestError", "This model's maximum context length is 4096 tokens."),
        "context_overflow",
    ),
    "OpenAI, too long": (Failure(400, "context_length_exceeded", "Please reduce."), "context_overflow"),
    "redirect": (Failure(307, "moved", "elsewhere"), "model_setup"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_has_its_code(client: Client, chat_id: str, openai: FakeOpenAI, name: str) -> None:
    failure, code = REFUSALS[name]
    openai.default = Reply(refuse=True, failure=failure)
    stream = await client.ask(chat_id, "hello")
    assert stream.outcome == "failed"
    assert stream.end["error"]["code"] == code
    assert failure.message not in stream.raw.decode()


async def test_a_page_instead_of_an_answer_is_a_failure(
    client: Client, chat_id: str, openai: FakeOpenAI
) -> None:
    openai.speak(Dialect(page=True))
    stream = await client.ask(chat_id, "hello")
    assert (stream.end["error"]["code"], stream.text) == ("model_setup", "")
    assert "sign in" not in stream.raw.decode()


OPTIONS = ("stream_options", "temperature", "max_tokens", "return_progress")


@pytest.fixture
async def own(tmp_path: Path, redis_url: str) -> AsyncIterator[tuple[Cluster, FakeOpenAI]]:
    """A backend and a server of one test's own: what it has learnt of a server stays with a backend."""
    async with FakeOpenAI() as fake:
        fake.key = FAKE_OPENAI_KEY
        fake.props = LLAMA_CPP
        env = {**openai_env(fake), "TOKEN_TIMEOUT_SECONDS": "2", "FIRST_TOKEN_TIMEOUT_SECONDS": "2"}
        async with Cluster(tmp_path, redis_url, backends=1, env=env) as cluster:
            yield cluster, fake


async def test_what_a_server_refuses_is_left_out_from_then_on(
    own: tuple[Cluster, FakeOpenAI], new_chat: Callable[[], str]
) -> None:
    cluster, fake = own
    fake.speak(Dialect(refuses=OPTIONS))
    async with cluster.client() as client:
        assert (await client.ask(new_chat(), "first")).outcome == "done"
        assert (await client.ask(new_chat(), "second")).outcome == "done"
    assert len(fake.of("second")) == 1
    assert len(fake.of("first")) == 1, "a refusal is no exchange"
    assert not set(OPTIONS) & fake.of("second")[0].body.keys()


async def test_how_far_llama_cpp_has_read_is_told(
    own: tuple[Cluster, FakeOpenAI], new_chat: Callable[[], str]
) -> None:
    cluster, fake = own
    fake.speak(Dialect(reads=200))
    chat_id = new_chat()
    async with cluster.client() as client:
        stream = await client.ask(chat_id, "hello")
        assert fake.of("hello")[0].body["return_progress"] is True
        assert stream.of("model")[-1] == {"phase": "reading", "processed": 200, "total": 200}
        names = [frame.event for frame in stream.frames]
        assert names.index("model") < names.index("text")
        replayed = await client.replay(chat_id)
        assert replayed.of("model") == stream.of("model")
        text = await client.ask(new_chat(), "hello", kind="text")
        assert (text.text, text.outcome) == (Reply().text, "done")
        assert "reading" not in text.raw.decode()


async def test_a_server_that_loads_is_waited_for(
    own: tuple[Cluster, FakeOpenAI], new_chat: Callable[[], str]
) -> None:
    cluster, fake = own
    fake.speak(Dialect(loading=4))  # longer than the time for a first token
    async with cluster.client() as client:
        stream = await client.ask(new_chat(), "hello")
    assert stream.outcome == "done"
    assert stream.of("model") == [{"phase": "loading"}]


async def test_a_stop_ends_the_waiting_for_a_server_that_loads(
    own: tuple[Cluster, FakeOpenAI], chat_id: str
) -> None:
    cluster, fake = own
    fake.speak(Dialect(loading=1_000))
    async with cluster.client() as client, client.chat(chat_id, "hello") as stream:
        await stream.until(lambda s: bool(s.of("model")))
        assert (await client.stop(chat_id, wait=5000))["result"] == "stopped"
        assert (await stream.rest()).outcome == "stopped"
    await eventually(lambda: fake.open_connections == 0 or fake.open_streams == 0)


async def test_a_model_without_tools_is_asked_without_them(
    own: tuple[Cluster, FakeOpenAI], new_chat: Callable[[], str]
) -> None:
    cluster, fake = own
    fake.props = {**LLAMA_CPP, "chat_template_caps": {"supports_tools": False}}
    async with cluster.client() as client:
        await client.ask(new_chat(), "hello")
    assert "tools" not in fake.of("hello")[0].body


async def test_the_window_that_the_server_tells_is_kept(
    own: tuple[Cluster, FakeOpenAI], chat_id: str
) -> None:
    cluster, fake = own
    fake.props = {**LLAMA_CPP, "default_generation_settings": {"n_ctx": 1536}}
    async with cluster.client() as client:
        for n in range(4):
            await client.ask(chat_id, f"question {n} " + "word " * 300)
        left_out = (await client.messages(chat_id))[-1]["facts"]["left_out"]
    assert left_out > 0
    roles = [m["role"] for m in fake.of("question 3 ")[0].body["messages"]]
    assert len(roles) == 1 + 7 - left_out


ODD_TEXTS = [
    "plain", "", "\n", '"', "\\", '\\"', '","x":"', '"},"finish_reason":"stop"}', "ü", "👩‍👩‍👧",
    "\u2028", "[DONE]", 'data: {"choices": []}', '"content": "no"', "</think>", "a,b", "]", "\x00", "\ud83d",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_chunks_read_together_say_what_they_say_alone(seed: int) -> None:
    words = random.Random(seed)
    texts = [words.choice(ODD_TEXTS) + words.choice(["", "tail"]) for _ in range(60)]
    fake = FakeOpenAI()
    fake.dialect = Dialect(crlf=seed % 2 == 1)
    lines = [line for text in texts for line in fake.token(text).split(b"\n") if line.strip()]
    answer, at, said = Answer(), 0, ""
    while at < len(lines):
        some = words.randrange(1, 6)
        said += "".join(what for _, what in answer.hear(lines[at : at + some]))
        at += some
    assert answer.error is None
    assert said == "".join(texts)
    end = b"".join(fake.closing(Reply(), used_tool=False))
    closing = [line for line in end.split(b"\n") if line.strip()]
    answer.hear(closing)
    assert (answer.finish, answer.done, answer.usage["completion_tokens"]) == ("stop", True, 5)


NO_TOOLS = Reply(refuse=True, failure=Failure(400, "BadRequestError", "fake does not support tools"))
DOCTOR: dict[str, tuple[dict[str, str], Dialect, str, str]] = {
    "fine": ({}, Dialect(), "ok", "fake at {url}/v1 answers"),
    "refuses options": ({}, Dialect(refuses=("stream_options", "temperature")), "ok", "answers"),
    "refuses tools": ({}, Dialect(), "ok", "answers; it takes no tools"),
    "another model": ({"OPENAI_MODEL_ID": "gpt-x"}, Dialect(knows=("fake",)), "FAIL", "it has fake"),
    "wrong key": ({"OPENAI_API_KEY": "sk-canary-wrong"}, Dialect(), "FAIL", "refused our credentials"),
    "wrong path": ({"OPENAI_BASE_URL": "{url}/v2"}, Dialect(), "FAIL", "is no model server"),
    "a page": ({}, Dialect(page=True), "FAIL", "is no model server"),
    "nobody there": ({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, Dialect(), "FAIL", "cannot be reached"),
    "loading": ({}, Dialect(loading=1000), "warn", "still being loaded"),
}
REPAIRS = {
    "another model": "OPENAI_MODEL_ID=", "wrong key": "OPENAI_API_KEY", "wrong path": "OPENAI_BASE_URL",
    "a page": "OPENAI_BASE_URL", "nobody there": "OPENAI_BASE_URL", "loading": "make doctor again",
}  # fmt: skip


@pytest.mark.parametrize("name", DOCTOR)
async def test_the_doctor_asks_what_every_reply_asks(openai: FakeOpenAI, tmp_path: Path, name: str) -> None:
    changed, dialect, verdict, words = DOCTOR[name]
    openai.speak(dialect)
    openai.script.extend([NO_TOOLS] if name == "refuses tools" else [])
    changed = {key: value.format(url=openai.url) for key, value in changed.items()}
    env = {**openai_env(openai), "OPENAI_MODEL_ID": "fake", **changed}
    program = Program([sys.executable, "-m", "app", "doctor"], tmp_path / "doctor.log", env=env)
    await program.start()
    assert await program.wait(60) == (verdict == "FAIL"), program.output
    lines = program.output.splitlines()
    (at,) = [at for at, line in enumerate(lines) if line[6:].startswith("openai:")]
    assert lines[at].startswith(verdict)
    assert words.format(url=openai.url) in lines[at]
    repair = f"repair: .*{REPAIRS[name]}" if name in REPAIRS else "^(ok|warn|FAIL)"
    assert re.search(repair, lines[at + 1]), lines[at : at + 2]
    for exchange in openai.exchanges[:1]:
        roles = [message["role"] for message in exchange.body["messages"]]
        assert (roles, exchange.body["stream"], bool(exchange.body["tools"])) == (
            ["system", "user"],
            True,
            True,
        )
        assert exchange.body["max_tokens"] == 16
    assert "canary" not in program.output
    assert "Traceback" not in program.output


async def test_what_a_question_wishes_goes_to_the_server(
    client: Client, chat_id: str, openai: FakeOpenAI
) -> None:
    await client.ask(chat_id, "hello")
    assert (await client.http.patch(f"/api/v1/chat/{chat_id}", json={"temperature": 0.1})).is_success
    await client.ask(chat_id, "in the chat")
    assert openai.of("in the chat")[0].body["temperature"] == 0.1
    body = {"model": "general", "max_completion_tokens": 7, "temperature": 1.5}
    asked = {**body, "messages": [{"role": "user", "content": "at the door"}]}
    assert (await client.http.post("/v1/chat/completions", json=asked)).status_code == 200
    (sent,) = (one.body for one in openai.of("at the door"))
    assert (sent["temperature"], sent["max_tokens"]) == (1.5, 7)


async def test_no_key_and_no_address_get_into_the_log(
    mixed: Cluster, client: Client, chat_id: str, openai: FakeOpenAI
) -> None:
    openai.default = Reply(refuse=True, failure=Failure(401, "invalid_api_key", "no"))
    stream = await client.ask(chat_id, "hello")
    log = mixed.backends[NUMBER["openai"]].output
    for secret in (FAKE_OPENAI_KEY, openai.url):
        assert secret not in stream.raw.decode()
        assert secret not in log
