"""What goes wrong in a model: each failure has its code, its sentence, and keeps what was said before."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import bedrock_env, ollama_env, openai_env
from tests.world.cluster import Cluster
from tests.world.fakes import bedrock as aws
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.model import FakeModel
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.openai import FakeOpenAI
from tests.world.fakes.raw import COUNTS, DONE, START, STOP, begin, ends, given, line, says
from tests.world.fakes.reply import HELD, Failure, Fault, Reply
from tests.world.invariants import Witness, assert_invariants
from tests.world.sides import NUMBER, Side
from tests.world.waiting import eventually

SILENT: dict[str, Reply] = {
    "before the headers": Reply(headers_delay=100),
    "before the first token": Reply(first_delay=100),
    "stalled": HELD,
    "endless": Reply(tokens=100_000, pace=0.1),
}


FAULTS: list[tuple[Fault, Failure, set[str]]] = [
    ("error", aws.BROKEN_IN_STREAM, {"model_error"}),
    ("drop", Failure(), {"model_error", "model_unavailable"}),
    ("truncate", Failure(), {"model_error"}),
    ("malformed", Failure(), {"model_error"}),
]


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault[0]))
async def test_a_stream_that_breaks_fails_with_what_was_said_so_far(
    side: Side, chat_id: str, fault: tuple[Fault, Failure, set[str]], after: int
) -> None:
    kind, failure, codes = fault
    side.fake.default = Reply(fault=kind, fault_after=after, failure=failure)
    witness = Witness(chat_id)
    async with side.client() as client:
        stream = await client.ask(chat_id, "hello")
        witness.saw(stream, "hello")
        assert stream.outcome == "failed"
        assert stream.end["error"]["code"] in codes
        assert "provider-secret-detail" not in stream.raw.decode()
        assert stream.text == "".join(f"word{n} " for n in range(after))
        assert len(side.fake.of("hello")) == 1 or not after, "asked again after text had been seen"
    await assert_invariants(side.cluster, [witness], models=[side.fake])


OLLAMA_REFUSALS = [
    (Failure(404, message="model 'x' not found"), {"model_not_found"}),
    (Failure(401, message="unauthorized"), {"model_auth"}),
    (Failure(429, message="slow down"), {"model_throttled"}),
    (Failure(500, message="llama runner process has terminated"), {"model_error"}),
    (Failure(503, message="server busy, please try again. maximum pending requests exceeded"),
     {"model_overloaded"}),
]  # fmt: skip
BEDROCK_REFUSALS = [
    (aws.THROTTLED, {"model_throttled"}),
    (aws.DENIED, {"model_auth"}),
    (aws.EXPIRED, {"model_auth"}),
    (aws.OVERFLOW, {"context_overflow"}),
    (aws.UNKNOWN_MODEL, {"model_not_found"}),
    (Failure(400, "ValidationException", "The provided model identifier is invalid."), {"model_not_found"}),
    (Failure(503, "ServiceUnavailableException", "try later"), {"model_unavailable"}),
    (Failure(500, "InternalServerException", "oops"), {"model_error", "model_unavailable"}),
    (Failure(408, "ModelTimeoutException", "too slow"), {"model_timeout"}),
    (Failure(429, "ModelNotReadyException", "warming up"), {"model_unavailable", "model_throttled"}),
]
REFUSALS = [("ollama", *case) for case in OLLAMA_REFUSALS] + [("bedrock", *case) for case in BEDROCK_REFUSALS]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case[0]} {case[1].status} {case[1].code}")
async def test_a_refusal_of_the_model_has_its_code_and_a_sentence_of_ours(
    mixed: Cluster,
    chat_id: str,
    ollama: FakeOllama,
    bedrock: FakeBedrock,
    case: tuple[str, Failure, set[str]],
) -> None:
    name, failure, codes = case
    fake: FakeModel = {"ollama": ollama, "bedrock": bedrock}[name]
    fake.default = Reply(refuse=True, failure=failure)
    async with mixed.client(NUMBER[name]) as client:
        stream = await client.ask(chat_id, "hello")
        assert stream.outcome == "failed"
        assert stream.end["error"]["code"] in codes
        assert len(stream.end["error"]["message"]) > 10
        assert failure.message not in stream.raw.decode()
        older = await client.http.post("/chat", json={"message": "hello"})
        status = 503 if codes == {"model_overloaded"} else 502
        assert (older.status_code, older.json()["code"]) == (status, stream.end["error"]["code"])
        assert older.json()["retry"] is stream.end["error"]["retry"]


async def test_a_throttle_inside_the_stream_is_not_tried_again(
    mixed: Cluster, chat_id: str, bedrock: FakeBedrock
) -> None:
    bedrock.default = Reply(fault="error", fault_after=3, failure=aws.THROTTLED_IN_STREAM)
    async with mixed.client(2) as client:
        stream = await client.ask(chat_id, "hello")
    assert (stream.text, stream.end["error"]["code"]) == ("word0 word1 word2 ", "model_throttled")
    assert len(bedrock.exchanges) == 1


@pytest.fixture(scope="module")
async def impatient(
    tmp_path_factory: pytest.TempPathFactory,
    redis_url: str,
    the_ollama: FakeOllama,
    the_bedrock: FakeBedrock,
    the_openai: FakeOpenAI,
) -> AsyncIterator[Cluster]:
    """backend-1 (Ollama), backend-2 (Bedrock) and backend-4 wait 2 s for the model; backend-3 has no AWS
    credentials.
    """
    where = tmp_path_factory.mktemp("impatient")
    env = {"FIRST_TOKEN_TIMEOUT_SECONDS": "2", "TOKEN_TIMEOUT_SECONDS": "1", "RUN_TIMEOUT_SECONDS": "5"}
    nothing = {"PROVIDER": "bedrock", "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(where)}
    models = {1: ollama_env(the_ollama), 2: bedrock_env(the_bedrock), 4: openai_env(the_openai)}
    env_of = {3: nothing, **{n: {**env, **model} for n, model in models.items()}}
    async with Cluster(where, redis_url, env_of=env_of, backends=4) as cluster:
        yield cluster


@pytest.mark.parametrize("phase", SILENT)
async def test_a_model_that_takes_too_long_is_given_up(
    impatient: Cluster, side: Side, chat_id: str, phase: str
) -> None:
    fake = side.fake
    fake.default = SILENT[phase]
    async with impatient.client(NUMBER[side.name]) as client:
        stream = await client.ask(chat_id, "hello")
    assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "model_timeout")
    await eventually(lambda: fake.open_streams == 0)
    assert len(fake.of("hello")) == 1


ALIVE = {  # what comes every 0.1 s for twice as long as the silence between two tokens may be
    "ollama": [*([says("")] * 20), says("done"), line({"content": ""}, **DONE)],
    "bedrock": [
        *(START, begin(name="current_time"), given(input="{")),
        *([given(input=" ")] * 20),
        *(given(input="}"), STOP, ends("tool_use"), COUNTS),
    ],
}


@pytest.mark.parametrize("name", ALIVE)
async def test_what_is_sent_without_words_counts_as_a_sign_of_life(
    impatient: Cluster, the_ollama: FakeOllama, the_bedrock: FakeBedrock, chat_id: str, name: str
) -> None:
    fake: FakeModel = {"ollama": the_ollama, "bedrock": the_bedrock}[name]
    fake.forget()
    fake.script.extend([Reply(raw=ALIVE[name], pace=0.1), Reply(tokens=["done"])])
    async with impatient.client(NUMBER[name]) as client:
        stream = await client.ask(chat_id, "slowly")
    assert (stream.outcome, stream.text) == ("done", "done")


async def test_without_credentials_the_reply_fails_as_model_auth(impatient: Cluster, chat_id: str) -> None:
    async with impatient.client(3) as client:
        stream = await client.ask(chat_id, "hello")
    assert stream.end["error"]["code"] == "model_auth"


async def test_no_secret_of_a_provider_gets_into_the_logs(
    mixed: Cluster, chat_id: str, bedrock: FakeBedrock
) -> None:
    bedrock.default = Reply(refuse=True, failure=aws.DENIED)
    async with mixed.client(2) as client:
        assert (await client.ask(chat_id, "hello")).outcome == "failed"
    for program in mixed.backends.values():
        assert "canary-aws-secret" not in program.output
        assert "AKIAFAKE" not in program.output
