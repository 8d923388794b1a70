"""Each failure of a model by what it is: its code, a sentence that helps, whether to try again, the log."""

from dataclasses import dataclass

import pytest

from tests.world.cluster import Cluster
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.model import FakeModel
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Failure, Reply
from tests.world.sides import NUMBER

SECRETS = (
    "Bearer sk-live-0123456789abcdef AKIAABCDEFGHIJKLMNOP http://me:hunter2@box/ "
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)
QUESTION = "a question that nobody else should ever get to read in a log"


@dataclass(frozen=True)
class Told:
    """What a provider says, and what must come of it. `helps`: words of our sentence."""

    status: int
    words: str
    code: str
    retry: bool
    helps: str
    name: str = "ValidationException"


def denied(words: str, helps: str, code: str = "model_refused") -> Told:
    return Told(403, words, code, False, helps, "AccessDeniedException")


OLLAMA = [
    Told(
        500,
        "model requires more system memory (5.6 GiB) than is available (3.2 GiB)",
        "model_refused",
        False,
        "memory",
    ),
    Told(500, "CUDA error: out of memory", "model_refused", False, "memory"),
    Told(500, "model requires more GPU memory than is available", "model_refused", False, "memory"),
    Told(500, "llama runner process has terminated: signal: killed", "model_error", True, "process"),
    Told(
        500,
        "error parsing tool call: raw='{\"a\"', err=unexpected end of JSON input",
        "model_error",
        True,
        "tool",
    ),
    Told(500, "something nobody has seen before", "model_error", True, "fault"),
    Told(400, "invalid options: num_ctx", "model_refused", False, "refused"),
    Told(400, "the prompt is longer than the context length", "context_overflow", False, "longer"),
    Told(401, "unauthorized", "model_auth", False, "credentials"),
    Told(
        402,
        "this model requires a subscription, upgrade for access: payment",
        "model_refused",
        False,
        "subscription",
    ),
    Told(404, "model 'qwen' not found", "model_not_found", False, "pull"),
    Told(404, "404 page not found", "model_setup", False, "address"),
    Told(301, "Moved Permanently", "model_setup", False, "address"),
    Told(429, "too many requests", "model_throttled", True, "Wait"),
    Told(502, "Bad Gateway", "model_unavailable", True, "reached"),
    Told(
        503,
        "server busy, please try again. maximum pending requests exceeded",
        "model_overloaded",
        True,
        "busy",
    ),
    Told(503, "Service Unavailable", "model_unavailable", True, "reached"),
]
BEDROCK = [
    Told(
        400,
        "Invocation of model ID amazon.x with on-demand throughput isn't supported.",
        "model_setup",
        False,
        "inference profile",
    ),
    Told(
        400,
        "The provided model doesn't support on-demand throughput.",
        "model_setup",
        False,
        "inference profile",
    ),
    Told(400, "The provided model identifier is invalid.", "model_not_found", False, "name"),
    Told(
        400,
        "The maximum tokens you requested exceeds the model limit of 4096.",
        "model_setup",
        False,
        "MAX_TOKENS",
    ),
    Told(400, "Input is too long for requested model.", "context_overflow", False, "longer"),
    Told(400, "Malformed input request: #: required key [x] not found", "model_refused", False, "refused"),
    denied("You don't have access to the model with the specified model ID.", "access", "model_auth"),
    denied("Model access is denied due to INVALID_PAYMENT_INSTRUMENT", "payment"),
    denied("aws-marketplace:Subscribe is needed for this model", "subscription"),
    Told(
        403,
        "The security token included in the request is expired",
        "model_auth",
        False,
        "expired",
        "ExpiredTokenException",
    ),
    Told(
        403,
        "Signature expired: 20261128T1 is now earlier than 20261128T2",
        "model_auth",
        False,
        "clock",
        "InvalidSignatureException",
    ),
    Told(
        403, "Missing Authentication Token", "model_auth", False, "credentials", "MissingAuthenticationToken"
    ),
    Told(403, "Incomplete signature", "model_auth", False, "credentials", "IncompleteSignature"),
    Told(
        404,
        "Model use case details have not been submitted for this account.",
        "model_refused",
        False,
        "form",
        "ResourceNotFoundException",
    ),
    Told(
        404,
        "This model version has reached the end of its life.",
        "model_refused",
        False,
        "retired",
        "ResourceNotFoundException",
    ),
    Told(424, "The model process failed", "model_error", True, "fault", "ModelErrorException"),
    Told(
        429,
        "Too many tokens per day, please wait before trying again.",
        "model_throttled",
        False,
        "today",
        "ThrottlingException",
    ),
    Told(429, "Too many requests, please wait.", "model_throttled", True, "Wait", "ThrottlingException"),
    Told(500, "oops", "model_error", True, "fault", "InternalServerException"),
    Told(
        503,
        "Bedrock is unable to process your request.",
        "model_unavailable",
        True,
        "ready",
        "ServiceUnavailableException",
    ),
]
CASES = [("ollama", told) for told in OLLAMA] + [("bedrock", told) for told in BEDROCK]


@pytest.fixture
def fakes(ollama: FakeOllama, bedrock: FakeBedrock) -> dict[str, FakeModel]:
    return {"ollama": ollama, "bedrock": bedrock}


@pytest.mark.parametrize(
    ("side", "told"), CASES, ids=lambda case: case if isinstance(case, str) else case.words[:40]
)
async def test_a_failure_says_what_it_is(
    mixed: Cluster, chat_id: str, fakes: dict[str, FakeModel], side: str, told: Told
) -> None:
    words = f"{told.words} {SECRETS} asked: {QUESTION}\n2026-01-01 WARNING forged"
    failure = Failure(told.status, told.name, words)
    fakes[side].default = Reply(refuse=True, failure=failure)
    program = mixed.backends[NUMBER[side]]
    already = len(program.output)
    async with mixed.client(NUMBER[side]) as client:
        stream = await client.ask(chat_id, QUESTION)
        error = stream.end["error"]
        assert (error["code"], error["retry"]) == (told.code, told.retry)
        assert told.helps in error["message"]
        assert ("try again" in error["message"].lower()) <= told.retry
        assert (await client.messages(chat_id))[-1]["facts"]["error"] == error
    log = program.output[already:]
    assert "Traceback" not in log
    lines = [line for line in log.splitlines() if "WARNING" in line and stream.run_id in line]
    assert len(lines) == len(fakes[side].of(QUESTION))
    assert f"status=<{told.status}>" in lines[0]
    assert told.words[:60] in lines[0]
    for hidden in ("sk-live", "AKIAABC", "hunter2", "wJalr", QUESTION, QUESTION[10:40]):
        assert hidden not in log
    assert "\n2026-01-01 WARNING forged" not in log


@pytest.mark.parametrize(
    ("told", "after"),
    [
        ("17", 17),
        ("0", 1),
        ("1.5", 2),
        ("999999", 3600),
        ("Sat, 28 Nov 2099 17:00:00 GMT", 3600),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 1),
    ],
)
async def test_a_busy_provider_says_when_to_come_back(
    mixed: Cluster, chat_id: str, ollama: FakeOllama, told: str, after: int
) -> None:
    ollama.default = Reply(refuse=True, failure=Failure(503, message="no slot", retry_after=told))
    async with mixed.client(1) as client:
        error = (await client.ask(chat_id, "hello")).end["error"]
        assert (error["code"], error["retry"], error["retry_after"]) == ("model_overloaded", True, after)
        older = await client.http.post("/chat", json={"message": "hello"})
    assert (older.status_code, older.headers["Retry-After"]) == (503, str(after))
    assert (older.json()["code"], older.json()["retry"]) == ("model_overloaded", True)


async def test_a_connection_that_had_died_costs_no_reply(
    mixed: Cluster, chat_id: str, fakes: dict[str, FakeModel]
) -> None:
    for side, fake in fakes.items():
        fake.drops_reused = True
        async with mixed.client(NUMBER[side]) as client:
            for number in range(4):
                stream = await client.ask(f"{chat_id}-{side}", f"hello {number}")
                assert (stream.outcome, stream.text) == ("done", Reply().text)
        assert len(fake.of("hello")) > 4, "no connection was used again"


@pytest.mark.parametrize("words", ["Loading model", "error parsing tool call: raw='x'"])
async def test_what_failed_for_a_moment_is_tried_once_more(
    mixed: Cluster, chat_id: str, ollama: FakeOllama, words: str
) -> None:
    failure = Reply(refuse=True, failure=Failure(503, message=words))
    ollama.script.append(failure)
    async with mixed.client(1) as client:
        stream = await client.ask(chat_id, "hello")
        assert (stream.outcome, stream.text) == ("done", Reply().text)
        ollama.default = failure
        assert (await client.ask(chat_id, "again")).end["error"]["retry"]
    assert (len(ollama.of("hello")), len(ollama.of("again"))) == (2, 2)


async def test_what_failed_after_the_first_character_is_not_tried_again(
    mixed: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.default = Reply(fault="drop", fault_after=1)
    async with mixed.client(1) as client:
        stream = await client.ask(chat_id, "hello")
    assert (stream.outcome, stream.text, len(ollama.exchanges)) == ("failed", "word0 ", 1)
