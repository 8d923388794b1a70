"""Lets the model name a chat after its first reply, beside everything else: nobody waits for it."""

import asyncio

from loguru import logger

from app.agents.answer import Answerer
from app.clock import NAMING_SECONDS
from app.events import End, reply_text
from app.runs.run import Run
from app.store.store import Store
from app.store.titles import named

AT_ONCE = 4  # names made at the same time: a model makes replies first of all


class Naming:
    """Names chats where `TITLES=model`. Never raises but when it is cancelled."""

    def __init__(self, store: Store, answerer: Answerer) -> None:
        self._store = store
        self._answerer = answerer
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def after(self, run: Run, question: str) -> None:
        """Names the chat whose first run this was; a person's name stays."""
        namer, end = self._answerer.namer, run.feed.events[-1]
        if not namer or not isinstance(end, End) or end.outcome != "done" or self._gate.locked():
            return
        agent = self._answerer.catalog.get(run.live.agent)
        try:
            async with self._gate, asyncio.timeout(NAMING_SECONDS):
                words = await namer.words_for(agent, question, reply_text(run.feed.events))
                if told := named(run.chat, question, words):
                    await self._store.redis.do(told)
        except Exception as error:  # noqa: BLE001  # the root of a task: the chat keeps the name it has
            logger.debug("run_id=<{}>, error=<{}> | no name from the model", run.run_id, type(error).__name__)
