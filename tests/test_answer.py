"""An answer leaves nothing behind, though the agent that made it may make another."""

import asyncio
import gc
import weakref
from typing import Any

from app.agents.answer import Answerer
from app.settings import Settings
from tests.conftest import ollama_env
from tests.world.fakes.ollama import FakeOllama
from tests.world.fakes.reply import Reply, ToolCall


class Silent:
    """A run that takes everything and keeps nothing."""

    run_id = chat_id = "silent"

    def _take(self, *_: Any) -> None: ...

    asked = busy = alive = text = reasoning = aside = tool = used = _take


async def test_a_stopped_answer_is_freed_without_the_garbage_collector() -> None:
    async with Answerer(Settings.model_validate({"provider": "demo"})) as answerer:
        run = Silent()
        freed = weakref.ref(run)
        gc.collect()
        gc.disable()
        try:
            answer = asyncio.create_task(answerer.answer("general", [("user", "Tell me a long story")], run))
            await asyncio.sleep(0.3)
            answer.cancel()
            await asyncio.wait([answer])
            assert answer.cancelled()
            del answer, run
            await asyncio.sleep(0)
            assert freed() is None
        finally:
            gc.enable()


async def test_what_is_asked_is_never_told_to_another_reply_nor_kept(ollama: FakeOllama) -> None:
    calculate = ToolCall("calculate", {"expression": "6*7"})
    ollama.on("with a tool", Reply(tool=calculate, tokens=2))
    ollama.on("for ever", Reply(tokens=100_000, pace=0.01))
    ollama.on("too much", Reply(tokens=2, stop_reason="length"))
    settings = {name.lower(): value for name, value in ollama_env(ollama).items()}
    async with Answerer(Settings.model_validate(settings)) as answerer:
        for n, kind in enumerate(["plain", "plain", "with a tool", "plain", "for ever", "too much", "plain"]):
            run, turns = Silent(), [("user", "first"), ("assistant", "so"), ("user", f"{kind} {n}")]
            gone = weakref.ref(run)
            answer = asyncio.create_task(answerer.answer("general", turns, run))
            await asyncio.wait([answer], timeout=0.3 if kind == "for ever" else 30)
            answer.cancel()
            await asyncio.wait([answer])
            del answer, run
            gc.collect()
            assert gone() is None, kind
            told = [
                message
                for message in ollama.of(f"{kind} {n}")[0].body["messages"]
                if message["role"] != "system"
            ]
            assert [message["content"] for message in told] == [text for _, text in turns]


async def test_an_agent_is_used_again_only_where_nothing_can_be_left_in_it(ollama: FakeOllama) -> None:
    ollama.on("with a tool", Reply(tool=ToolCall("calculate", {"expression": "6*7"}), tokens=2))
    settings = {name.lower(): value for name, value in ollama_env(ollama).items()}
    async with Answerer(Settings.model_validate(settings)) as answerer:
        kept: list[int] = []
        for question in ("one", "two", "with a tool", "three"):
            await answerer.answer("general", [("user", question)], Silent())
            kept.append(len(answerer._spares._free))
        assert kept == [1, 1, 0, 1]
        await asyncio.gather(*(answerer.answer("general", [("user", "at once")], Silent()) for _ in range(3)))
        assert len(answerer._spares._free) == 3
