"""Tools and blocks around the words of a model: bounded, ended, sent back whole."""

from tests.world.cluster import Cluster
from tests.world.fakes.bedrock import FakeBedrock
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.raw import (
    CALL,
    COUNTS,
    START,
    STOP,
    SUM,
    begin,
    calls,
    ends,
    given,
    text,
    thought,
    tool,
)
from tests.world.fakes.reply import Reply

AFTER = Reply(tokens=["It is 42."])


async def test_many_calls_in_one_message_are_bounded(
    mixed: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.script.append(Reply(raw=calls(*[CALL] * 20_000)))
    ollama.default = AFTER
    async with mixed.client(1) as client:
        stream = await client.ask(chat_id, "hello")
    assert stream.text == AFTER.text
    assert len(stream.of("tool")) == 2 * 32


async def test_a_model_that_calls_for_ever_fails_and_says_so(
    mixed: Cluster, chat_id: str, bedrock: FakeBedrock
) -> None:
    bedrock.default = Reply(raw=tool(begin(), given(input=SUM), STOP))
    async with mixed.client(2) as client:
        stream = await client.ask(chat_id, "hello")
    assert (stream.outcome, stream.end["error"]["code"]) == ("failed", "model_empty")
    assert "again and again" in stream.end["error"]["message"]
    assert len({one["tool_use_id"] for one in stream.of("tool")}) * 2 == len(stream.of("tool"))


async def test_a_model_cannot_write_lines_into_the_log(
    mixed: Cluster, chat_id: str, ollama: FakeOllama
) -> None:
    forged = "x\n2026-01-01 00:00:00.000 WARNING backend-1 - | FORGED" + "y" * 5000
    ollama.script.append(Reply(raw=calls({"function": {"name": forged, "arguments": {}}})))
    ollama.default = AFTER
    async with mixed.client(1) as client:
        stream = await client.ask(chat_id, "hello")
    assert stream.text == AFTER.text
    assert all(len(one["name"]) <= 64 and "\n" not in one["name"] for one in stream.of("tool"))
    assert not any("| FORGED" in told for told in mixed.backends[1].output.splitlines())


async def test_thinking_with_its_signature_goes_back_whole(
    mixed: Cluster, chat_id: str, bedrock: FakeBedrock
) -> None:
    signed = [thought(text="two and "), thought(text="two"), thought(signature="c2ln"), STOP]
    hidden = [thought(redactedContent="aGlkZGVu"), STOP]
    bedrock.script.append(Reply(raw=[START, *signed, *hidden, *tool(begin(), given(input=SUM), STOP)[1:]]))
    bedrock.default = AFTER
    async with mixed.client(2) as client:
        assert (await client.ask(chat_id, "hello", agent="thinker")).text == AFTER.text
    back = bedrock.of("hello")[1].body["messages"][1]["content"]
    assert [next(iter(block)) for block in back] == ["reasoningContent", "reasoningContent", "toolUse"]
    assert back[0]["reasoningContent"]["reasoningText"] == {"text": "two and two", "signature": "c2ln"}
    assert back[1]["reasoningContent"]["redactedContent"] == "aGlkZGVu"


async def test_a_stop_ends_the_tool_that_runs(mixed: Cluster, chat_id: str, ollama: FakeOllama) -> None:
    ollama.default = Reply(raw=calls({"function": {"name": "slow", "arguments": {"seconds": 100}}}))
    async with mixed.client(1) as client, client.chat(chat_id, "hello", agent="sleeper") as stream:
        await stream.until(lambda s: bool(s.of("tool")))
        await client.stop(chat_id, wait=5000)
        assert (await stream.rest()).outcome == "stopped"
    assert [one["status"] for one in stream.of("tool")] == ["running", "stopped"]


async def test_what_a_guardrail_blocked_is_not_sent_again(
    mixed: Cluster, chat_id: str, bedrock: FakeBedrock
) -> None:
    bedrock.script.append(Reply(raw=[START, text("Blocked."), STOP, ends("guardrail_intervened"), COUNTS]))
    async with mixed.client(2) as client:
        stream = await client.ask(chat_id, "a forbidden question")
        assert (stream.text, stream.end["stop_reason"]) == ("Blocked.", "guardrail_intervened")
        assert (await client.ask(chat_id, "a harmless question")).outcome == "done"
        assert "forbidden" not in str(bedrock.of("harmless")[0].body["messages"])
        assert "forbidden" in str(await client.messages(chat_id))
