"""An answer that is stopped leaves nothing behind."""

import asyncio
import gc
import weakref
from typing import Any

from app.agents.answer import Answerer
from app.settings import Settings


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
