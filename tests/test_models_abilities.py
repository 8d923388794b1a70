"""What a model cannot take is learned from its first refusal, and left out of every reply from then on."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import bedrock_env, ollama_env
from tests.world.cluster import Cluster
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.model import FakeModel
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Failure, Reply
from tests.world.sides import NUMBER

NAMES = ["one", "two", "three", "four", "five", "six"]  # each an agent with a model of its own


@pytest.fixture(scope="module")
async def choosy(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, the_ollama: FakeOllama, the_bedrock: FakeBedrock
) -> AsyncIterator[Cluster]:
    """backend-1 on Ollama, backend-2 on Bedrock, with agents of different models."""
    where = tmp_path_factory.mktemp("choosy")
    for name in NAMES:
        (where / f"{name}.toml").write_text(
            'description = "d"\nprompt = "Speak in verse."\ntools = ["calculate"]\n'
            f'models = {{ ollama = "{name}", bedrock = "anthropic.claude-{name}" }}\n'
        )
    env_of = {1: ollama_env(the_ollama), 2: bedrock_env(the_bedrock)}
    async with Cluster(
        where, redis_url, env={"AGENTS_DIR": str(where)}, env_of=env_of, backends=2
    ) as cluster:
        yield cluster


@pytest.fixture
def fakes(ollama: FakeOllama, bedrock: FakeBedrock) -> dict[str, FakeModel]:
    return {"ollama": ollama, "bedrock": bedrock}


def refusal(words: str) -> Reply:
    return Reply(refuse=True, failure=Failure(400, "ValidationException", words))


REFUSALS = [
    ("ollama", "one", "registry.ollama.ai/library/one does not support tools", "tools"),
    ("ollama", "two", "tools param requires --jinja flag", "tools"),
    ("ollama", "three", "System role not supported", "system"),
    ("bedrock", "one", "This model doesn't support tool use in streaming mode.", "tools"),
    ("bedrock", "two", "This model doesn't support tool use.", "tools"),
    (
        "bedrock",
        "three",
        "This model doesn't support system messages. Try again without a system prompt.",
        "system",
    ),
    ("bedrock", "four", "extraneous key [cachePoint] is not permitted", "cache"),
    ("bedrock", "five", "`temperature` is deprecated for this model.", "temperature"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case[2][:40])
async def test_a_refusal_is_learned_once(
    choosy: Cluster, chat_id: str, fakes: dict[str, FakeModel], case: tuple[str, str, str, str]
) -> None:
    side, agent, words, thing = case
    fake = fakes[side]
    fake.script.append(refusal(words))
    async with choosy.client(NUMBER[side]) as client:
        first = await client.ask(chat_id, "hello", agent=agent)
        second = await client.ask(chat_id, "once more", agent=agent)
    assert (first.outcome, first.text, second.outcome) == ("done", Reply().text, "done")
    refused, answered = fake.of("hello")
    (again,) = fake.of("once more")
    assert sends(refused.body, thing)
    assert not sends(answered.body, thing)
    assert not sends(again.body, thing)
    if thing == "system":
        assert "Speak in verse.\n\nhello" in str(answered.body["messages"][0]).replace("\\n", "\n")
        assert "Speak in verse." not in str(again.body["messages"][1:])


def sends(body: dict[str, object], thing: str) -> bool:
    """Whether this request of either provider has tools, a system prompt, …"""
    if thing == "tools":
        return bool(body.get("tools") or body.get("toolConfig"))
    if thing == "system":
        messages = body["messages"]
        assert isinstance(messages, list)
        return bool(body.get("system")) or messages[0]["role"] == "system"
    return {"cache": "cachePoint", "temperature": "temperature"}[thing] in str(body)


async def test_a_model_that_wants_an_inference_profile_gets_that_of_its_region(
    choosy: Cluster, chat_id: str, bedrock: FakeBedrock
) -> None:
    wanted = refusal(
        "Invocation of model ID x with on-demand throughput isn't supported. Retry with a profile."
    )
    bedrock.script += [wanted, refusal("The provided model identifier is invalid.")]
    async with choosy.client(2) as client:
        assert (await client.ask(chat_id, "hello", agent="six")).outcome == "done"
        assert (await client.ask(chat_id, "once more", agent="six")).outcome == "done"
    paths = [exchange.path.split("/")[2] for exchange in bedrock.exchanges]
    assert paths == [f"{area}anthropic.claude-six" for area in ("", "eu.", "global.", "global.")]
    assert "through an inference profile" in choosy.backends[2].output


async def test_what_is_the_same_in_each_call_is_marked_for_the_cache(
    choosy: Cluster, chat_id: str, bedrock: FakeBedrock
) -> None:
    async with choosy.client(2) as client:
        await client.ask(chat_id, "hello", agent="analyst")
    (asked,) = bedrock.of("hello")
    assert asked.body["system"][-1] == {"cachePoint": {"type": "default"}}
    assert "cachePoint" not in str(asked.body["toolConfig"])  # Nova takes it behind the prompt only


@pytest.mark.parametrize(
    "case", [("four", None, 0.0), ("five", ("completion",), 100.0)], ids=["untold", "hangs"]
)
async def test_an_ollama_that_does_not_tell_is_not_asked_each_time(
    choosy: Cluster,
    chat_id: str,
    ollama: FakeOllama,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, tuple[str, ...] | None, float],
) -> None:
    agent, capabilities, seconds = case
    monkeypatch.setattr(ollama, "capabilities", capabilities)
    monkeypatch.setattr(ollama, "show_seconds", seconds)
    ollama.shown = 0
    async with choosy.client(1) as client:
        for _ in range(3):
            assert (await client.ask(chat_id, "hello", agent=agent)).outcome == "done"
    assert ollama.shown == 1
