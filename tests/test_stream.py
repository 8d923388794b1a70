"""The two stream formats, read as strictly as the standard allows: none lost, torn or taken for an end."""

import asyncio
import json
import re

import pytest

from tests.world.client import Client, Format
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Failure, Reply, ToolCall

BOTH: tuple[Format, ...] = ("text", "json")

AS_THEY_CAME = {
    "leading spaces": [" one", "  two", " "],
    "line breaks": ["one\n", "\ntwo", "\n\n\nthree", "\n"],
    "only a line break": ["\n"],
    "unicode": ["Grüße ", "👩‍👩‍👧 ", "\u2028\u2029\u0085 ", "مرحبا ", "\ufeffbom"],
    "control characters": ["nul\x00 ", "bell\x07 ", "escape\x1b[31m"],
    "frames of an attacker": [
        "\n\nevent: end\ndata: {}\n\n",
        "id: x:99\n",
        "data: [DONE]\n\n",
        ": comment\n",
        "retry: 1\n",
    ],
    "json of an attacker": ['"}\n\n', '{"outcome": "done"}', "\\n\\u0000"],
    "html": ["<script>alert(1)</script>", "</textarea>", "<!--"],
    "long": ["x" * 70_000, "\n" * 3000],
}

FORGED = {
    "whole": ["[DONE]"],
    "stopped": ["[STOPPED]"],
    "error": ["[ERROR] it went wrong"],
    "bare error": ["[ERROR]"],
    "on its own line": ["a\n[DONE]\nb"],
    "with white space": ["  [DONE]\t", "\n \t[STOPPED] \n"],
    "over two chunks": ["[DO", "NE]"],
    "letter by letter": list("\n[STOPPED]\n[ERROR] no\n[DONE]"),
    "line break apart": ["one\n", "[DONE]", "\ntwo"],
    "after a space of its own": [" ", "[DONE]"],
    "twice": ["[DONE]\n[DONE]", "[DONE]"],
    "with carriage return": ["[DONE]\r", "\n[DONE]\r"],
    "after a line separator": ["\u2028[DONE]\u2028", "\x0b[DONE]\x0c", "\xa0[DONE]\xa0"],
}


def sentinel_lines(raw: bytes) -> list[str]:
    """What a consumer that only looks at `data:` lines would take for an ending, white space aside."""
    lines = [line[5:].strip() for line in re.split(r"\r\n|\r|\n", raw.decode()) if line.startswith("data:")]
    return [
        line for line in lines if line in {"[DONE]", "[STOPPED]", "[ERROR]"} or line.startswith("[ERROR] ")
    ]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("name", AS_THEY_CAME)
async def test_text_arrives_as_the_model_sent_it(
    client: Client, chat_id: str, ollama: FakeOllama, name: str, kind: Format
) -> None:
    reply = ollama.on(chat_id, Reply(tokens=AS_THEY_CAME[name]))
    stream = await client.ask(chat_id, f"say it in {chat_id}", kind=kind)
    assert stream.text == reply.text
    assert stream.outcome == "done"
    assert (await client.messages(chat_id))[-1]["content"] == reply.text
    assert (await client.replay(chat_id, kind=kind)).frames == stream.frames


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("name", FORGED)
async def test_text_that_looks_like_an_ending_fools_nobody(
    client: Client, chat_id: str, ollama: FakeOllama, name: str, kind: Format
) -> None:
    reply = ollama.on(chat_id, Reply(tokens=FORGED[name]))
    stream = await client.ask(chat_id, f"say it in {chat_id}", kind=kind)
    assert len(stream.terminals) == 1
    assert (stream.text, stream.outcome) == (reply.text.replace("\r\n", "\n").replace("\r", "\n"), "done")
    if kind == "text":
        assert sentinel_lines(stream.raw) == ["[DONE]"]
    replay = await client.replay(chat_id, kind=kind)
    assert replay.frames == stream.frames


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "case",
    [
        (["a\r\nb\rc"], "a\nb\nc"),
        (["a\r", "\nb"], "a\nb"),
        (["a\r", "b"], "a\nb"),
        (["a\r", "\r", "\nb\r"], "a\n\nb\n"),
        (["\r"], "\n"),
    ],
)
async def test_every_line_end_becomes_a_line_feed(
    client: Client, chat_id: str, ollama: FakeOllama, case: tuple[list[str], str], kind: Format
) -> None:
    tokens, expected = case
    ollama.on(chat_id, Reply(tokens=tokens))
    stream = await client.ask(chat_id, f"say it in {chat_id}", kind=kind)
    assert stream.text == expected
    assert (await client.messages(chat_id))[-1]["content"] == expected


async def test_text_format_has_data_lines_for_text_and_ending_only(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on(
        chat_id,
        Reply(
            tokens=["sum: 4"], thinking=["let me think"], tool=ToolCall("calculate", {"expression": "2+2"})
        ),
    )
    stream = await client.ask(chat_id, f"sum in {chat_id}", kind="text")
    assert [frame.data for frame in stream.frames] == ["sum: 4", "[DONE]"]
    assert {frame.event for frame in stream.frames} == {"message"}


async def test_json_format_is_one_line_of_json_per_event(
    client: Client, chat_id: str, ollama: FakeOllama
) -> None:
    ollama.on(chat_id, Reply(tokens=["line\nbreak", "ü"]))
    stream = await client.ask(chat_id, f"say it in {chat_id}")
    data = [line[5:] for line in stream.raw.decode().split("\n") if line.startswith("data:")]
    assert [json.loads(line) for line in data] == [frame.json for frame in stream.frames]


@pytest.mark.parametrize("kind", BOTH)
async def test_events_are_numbered_without_repeats(client: Client, chat_id: str, kind: Format) -> None:
    stream = await client.ask(chat_id, "hello", kind=kind)
    numbers = [frame.number for frame in stream.frames]
    assert {frame.id.rpartition(":")[0] for frame in stream.frames} == {stream.run_id}
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] == (1 if kind == "json" else 2)


async def test_text_is_the_default_format(client: Client, chat_id: str) -> None:
    answer = await client.http.post(f"/api/v1/chat/{chat_id}", json={"message": "hello"})
    assert answer.text.rstrip().endswith("data: [DONE]")


async def test_an_unknown_format_is_refused(client: Client, chat_id: str) -> None:
    answer = await client.http.post(f"/api/v1/chat/{chat_id}?format=xml", json={"message": "hello"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("kind", BOTH)
async def test_an_error_is_one_terminal_frame_with_one_sentence(
    client: Client, chat_id: str, ollama: FakeOllama, kind: Format
) -> None:
    ollama.on(chat_id, Reply(fault="error", fault_after=2, failure=Failure(message="secret\n\ndata: [DONE]")))
    stream = await client.ask(chat_id, f"hello {chat_id}", kind=kind)
    assert (stream.outcome, stream.text) == ("failed", "word0 word1 ")
    assert len(stream.terminals) == 1
    assert "secret" not in stream.raw.decode()
    if kind == "json":
        assert stream.end["error"]["code"] == "model_error"
        assert stream.end["error"]["message"]
    else:
        assert re.fullmatch(r"\[ERROR\] \S[^\n]+", stream.frames[-1].data)
    kept = (await client.messages(chat_id))[-1]
    assert (kept["content"], kept["outcome"]) == ("word0 word1 ", "failed")


async def test_silence_is_filled_with_comments(client: Client, chat_id: str, ollama: FakeOllama) -> None:
    ollama.on(chat_id, Reply(fault="stall", fault_after=1))
    async with client.chat(chat_id, f"hello {chat_id}") as stream:
        await stream.until_text("word0")
        before = len(stream.comments)
        async with asyncio.timeout(25):
            while len(stream.comments) == before:
                await stream.more()
        assert stream.text == "word0 "
        await client.stop(chat_id, wait=5000)
