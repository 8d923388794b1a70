"""What real models send that no specification has: the bytes that were reported, and their right value."""

import json
from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import Any

import pytest

from tests.world.cluster import Cluster
from tests.world.fakes.bedrock import OVERFLOW, FakeBedrock, event
from tests.world.fakes.model import FakeModel
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.openai import FakeOpenAI
from tests.world.fakes.raw import (
    CALL,
    COUNTS,
    DONE,
    START,
    STOP,
    SUM,
    begin,
    calls,
    calls_with,
    ends,
    given,
    line,
    says,
    text,
    thought,
    tool,
)  # fmt: skip
from tests.world.fakes.reply import Fault, Reply
from tests.world.sides import NUMBER

WHOLE = "Here is my whole answer."
AFTER = Reply(tokens=["It is 42."])


@dataclass(frozen=True)
class Odd:
    """The bytes of the first answer, and what must come of them. `tools`: the statuses, in order."""

    raw: list[bytes]
    text: str = WHOLE
    outcome: str = "done"
    reason: str = "end_turn"
    why: str = ""
    tools: str = ""
    asked: int = 1
    exact: bool = True
    fault: Fault | None = None


def used(raw: list[bytes], said: str = "") -> Odd:
    """A call that is carried out, and then the answer."""
    return Odd(raw, text=f"{said}It is 42.", tools="running done", asked=2)


def told(raw: list[bytes]) -> Odd:
    """A call that fails, which the model is told."""
    return Odd(raw, text="It is 42.", tools="running failed", asked=2)


def empty(raw: list[bytes], why: str = "empty") -> Odd:
    return Odd(raw, text="", outcome="failed", reason="model_empty", why=why)


def cut(raw: list[bytes], said: str = "half") -> Odd:
    return Odd(raw, text=said, outcome="failed", reason="model_error")


OLLAMA = {
    "arguments as a text of JSON": used(calls_with(SUM)),
    "arguments as a text of a text of JSON": used(calls_with(json.dumps(SUM))),
    "arguments as a text that is none": told(calls_with("expression: 6 * 7")),
    "arguments as a list": told(calls_with([1])),
    "arguments as a number": told(calls_with(42)),
    "arguments left out": used(calls({"function": {"name": "current_time"}})),
    "arguments with NaN": told([calls_with(["x"])[0].replace(b'["x"]', b'{"expression": NaN}'), calls()[1]]),
    "arguments nested 900 deep": told(calls_with(json.loads("[" * 900 + "]" * 900))),
    "an object nested 900 deep": told(calls_with(json.loads('{"a":' * 900 + "1" + "}" * 900))),
    "an argument of 100 KB": told(calls_with({"expression": "1" * 100_000})),
    "an argument that does not fit": told(calls_with({"expression": {"a": 1}})),
    "an argument too many": used(calls_with({"expression": "6 * 7", "more": 1})),
    "a tool that fails": told(calls_with({"expression": "1 / 0"})),
    "a call without a name": Odd([says(WHOLE), *calls({"function": {"arguments": {}}})]),
    "only a call without a name": empty(calls({"function": {"name": "", "arguments": {}}})),
    "a name with channel marks": told(calls({"function": {"name": "calculate<|channel|>", "arguments": {}}})),
    "the function as a name": used(calls({"function": "calculate", "arguments": {"expression": "6 * 7"}})),
    "the calls as an object": used(
        [line({"content": "", "tool_calls": CALL}), line({"content": ""}, **DONE)]
    ),
    "the calls as a text": Odd([says(WHOLE), line({"content": "", "tool_calls": "none"}), line({}, **DONE)]),
    "counts with points": Odd(
        [says(WHOLE), line({}, **DONE | {"prompt_eval_count": 11.0, "eval_count": "3"})]
    ),
    "no count of the prompt": Odd([says(WHOLE), line({}, done=True, eval_count=3)], exact=False),
    "no counts": Odd([says(WHOLE), line({}, done=True)], exact=False),
    "halves of a character": Odd([says("smile \ud83d"), says("\ude00"), line({}, **DONE)], text="smile 😀"),
    "half a character": Odd([says("smile \ud83d"), line({}, **DONE)], text="smile �"),
    "empty pieces": Odd([says(""), line({"content": None}), line(None), says(WHOLE), line(None, **DONE)]),
    "an end without a line feed": Odd([says(WHOLE), line({}, **DONE).rstrip()]),
    "broken off behind its end": Odd([says(WHOLE), line({}, **DONE)], fault="drop"),
    "more behind its end": Odd([says(WHOLE), line({}, **DONE) + says("more") + b'{"error": "late"}\n']),
    "an error that is none": Odd([line({"content": WHOLE}, error=None), line({}, **DONE, error="")]),
    "only thinking": empty([line({"thinking": "hm"}), line({}, **DONE)], why="thought"),
    "thinking to the last token": empty(
        [line({"thinking": "hm"}), line({}, **DONE | {"done_reason": "length"})], why="MAX_TOKENS"
    ),
    "only loaded": empty([line({"content": ""}, done=True, done_reason="load")], why="empty"),
    "an error in the middle": cut([says("half"), b'{"error": "something happened"}\n']),
    "somebody else's overflow in the middle": cut(
        [
            says("half"),
            b'{"error": "an error was encountered while running the model: error: request (9921 tokens) '
            b'exceeds the available context size (2048 tokens)"}\n',
        ]
    ),
    "no such model, told in the stream": Odd(
        [b'{"error": "model \'x\' not found, try pulling it first"}\n'],
        text="",
        outcome="failed",
        reason="model_not_found",
    ),
    "an answer of HTML": Odd(
        [b"<html><body>Welcome to nginx!</body></html>"], text="", outcome="failed", reason="model_setup"
    ),
    "a list instead of lines": cut([says("half"), b"[1, 2]\n"]),
    "a message that is a text": Odd([line("hello")], text="", outcome="failed", reason="model_error"),
}

BEDROCK = {
    "a stop for tools without one": Odd([START, text(WHOLE), STOP, ends("tool_use"), COUNTS]),
    "nothing but a stop for tools": empty([START, ends("tool_use"), COUNTS]),
    "a call with the end of a turn": used(tool(begin(), given(input=SUM), STOP, reason="end_turn")),
    "a call without its end": used(tool(begin(), given(input=SUM))),
    "a name that comes with the input": used(tool(given(toolUseId="t1", name="calculate", input=SUM), STOP)),
    "an input as an object": used(tool(begin(), given(input={"expression": "6 * 7"}), STOP)),
    "a delta without input": used(tool(begin("current_time"), given(), STOP)),
    "an input cut in the middle": told(tool(begin(), given(input='{"expr'), STOP)),
    "an input that is a list": told(tool(begin(), given(input="[1]"), STOP)),
    "two calls with one id": Odd(
        tool(begin(), given(input=SUM), STOP, begin(), given(input=SUM), STOP),
        text="It is 42.",
        tools="running running done done",
        asked=2,
    ),
    "an id of another kind": used(tool(begin(used="call:1/é"), given(input=SUM), STOP)),
    "blank text before a call": Odd(
        [START, text(" \n"), STOP, *tool(begin(), given(input=SUM), STOP)[1:]],
        text=" \nIt is 42.",
        tools="running done",
        asked=2,
    ),
    "text before a call": Odd(
        [START, text("Let me see."), STOP, *tool(begin(), given(input=SUM), STOP)[1:]],
        text="Let me see.\n\nIt is 42.",
        tools="running done",
        asked=2,
    ),
    "max_tokens inside a call": empty(
        tool(begin(), given(input='{"ex'), reason="max_tokens"), why="MAX_TOKENS"
    ),
    "max_tokens inside a call, after text": Odd(
        [START, text(WHOLE), STOP, *tool(begin(), given(input='{"ex'), reason="max_tokens")[1:]],
        reason="max_tokens",
    ),
    "thinking to the last token": empty(
        [START, thought(text="hm"), ends("max_tokens"), COUNTS], why="MAX_TOKENS"
    ),
    "nothing": empty([START, STOP, ends(), COUNTS], why="empty"),
    "filtered": empty([START, ends("content_filtered"), COUNTS], why="filtered"),
    "a reason of next year": Odd(
        [START, text(WHOLE), STOP, ends("model_pondered"), COUNTS], reason="model_pondered"
    ),
    "an event of next year": Odd([START, event("novelty", {"a": 1}), text(WHOLE), STOP, ends(), COUNTS]),
    "no metadata": Odd([START, text(WHOLE), STOP, ends()], exact=False),
    "metadata without usage": Odd([START, text(WHOLE), STOP, ends(), event("metadata", {})], exact=False),
    "reset behind its end": Odd([START, text(WHOLE), STOP, ends()], fault="drop", exact=False),
    "silence behind its end": Odd([START, text(WHOLE), STOP, ends()], fault="stall", exact=False),
    "cut before its end": cut([START, text("half"), STOP]),
    "a text that is none": Odd(
        [START, event("contentBlockDelta", {"delta": {"text": None}}), text(WHOLE), ends(), COUNTS]
    ),
    "a delta that is a text": cut([START, text("half"), event("contentBlockDelta", {"delta": "x"}), ends()]),
    "thinking that is a text": cut(
        [START, text("half"), event("contentBlockDelta", {"delta": {"reasoningContent": "hm"}}), ends()]
    ),
    "thinking that is no base64": cut([START, text("half"), thought(redactedContent="x"), ends()]),
    "a message that is a list": cut([START, text("half") + event("contentBlockDelta", [1]), ends()]),
    "a message that is nothing": cut([START, text("half") + event("metadata", None), ends()]),
    "a prompt too long, told in the stream": Odd([], text="", outcome="failed", reason="context_overflow"),
}


def chunk(content: Any, finish: Any = None, **more: Any) -> bytes:
    """A chunk of an OpenAI-compatible server."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n".encode()


FINISH = chunk(None, "stop", usage={"prompt_tokens": 11, "completion_tokens": 3})
OPENAI = {
    "pieces instead of a text": Odd(
        [
            chunk([{"type": "thinking", "thinking": []}, {"type": "text", "text": WHOLE[:4]}]),
            chunk(WHOLE[4:]),
            FINISH,
        ]
    ),
    "a number instead of a text": cut([chunk("half"), chunk(5) + FINISH]),
    "an object instead of a text": cut([chunk("half") + chunk({"text": "x"}), FINISH]),
    "pieces that are none": cut([chunk("half") + chunk(["x"]), FINISH]),
    "a finish that is no word": Odd([chunk(WHOLE), chunk(None, {"reason": "stop"})], exact=False),
    "a mark of the byte order": Odd([BOM_UTF8 + chunk(WHOLE), FINISH]),
    "counts that cannot be": Odd(
        [chunk(WHOLE), chunk(None, "stop", usage={"prompt_tokens": 10**30, "completion_tokens": 10**30})],
        exact=False,
    ),
    "too many, told in words in the stream": Odd(
        [b'data: {"error": {"code": "429", "message": "slow down"}}\n\n'],
        text="",
        outcome="failed",
        reason="model_throttled",
    ),
}

SIDES = {"ollama": OLLAMA, "bedrock": BEDROCK, "openai": OPENAI}
CASES = [(side, name) for side, cases in SIDES.items() for name in cases]


@pytest.fixture
def fakes(ollama: FakeOllama, bedrock: FakeBedrock, openai: FakeOpenAI) -> dict[str, FakeModel]:
    return {"ollama": ollama, "bedrock": bedrock, "openai": openai}


@pytest.mark.parametrize(("side", "name"), CASES)
async def test_an_odd_answer_has_its_right_value(
    mixed: Cluster, chat_id: str, fakes: dict[str, FakeModel], side: str, name: str
) -> None:
    fake = fakes[side]
    odd = SIDES[side][name]
    raw = odd.raw or [fake.failed(OVERFLOW)]
    fake.script.append(Reply(raw=raw, fault=odd.fault))
    fake.default = AFTER
    log = mixed.backends[NUMBER[side]]
    already = len(log.output)
    async with mixed.client(NUMBER[side]) as client:
        stream = await client.ask(chat_id, "hello")
        assert (stream.text, stream.outcome) == (odd.text, odd.outcome)
        assert stream.end["stop_reason"] == odd.reason
        assert odd.why in stream.end.get("error", {}).get("message", "")
        statuses = [one["status"] for one in stream.of("tool")]
        assert statuses == odd.tools.split()
        assert len(fake.of("hello")) == odd.asked
        if odd.outcome == "done":
            assert stream.end["usage"]["exact"] is odd.exact
            assert (await client.messages(chat_id))[-1]["content"] == odd.text
        assert_plain(stream.of("tool"))
        assert (await client.ask(chat_id, "next")).text == AFTER.text
    assert "Traceback" not in log.output[already:]


def assert_plain(events: list[dict[str, Any]]) -> None:
    """Nothing of Python, pydantic or Strands in what readers see; everything bounded."""
    for told in events:
        assert len(json.dumps(told)) < 5000
        assert not any(
            word in str(told.get("output")) for word in ("pydantic", "strands", "Tool()", "Traceback")
        )
