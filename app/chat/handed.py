"""The files of a chat on their way to a model: read when its turn has come, held while it answers.

What all of them here hold together is bounded; who finds no room waits for it, and can be stopped
meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from app.agents.answer import Answerer
from app.agents.shown import Shown
from app.chat.question import Question
from app.errors import ModelFailure, NoVision, RedisUnavailable
from app.runs.run import Run
from app.store.filed import is_picture
from app.store.keys import Chat
from app.store.store import Store

UNIT = 256 * 1024
MOST_HANDED = 8 * 1024 * 1024  # bytes at the same time; on their way out they take several times that

Files = Mapping[int, list[dict[str, Any]]]


async def check_sight(store: Store, answerer: Answerer, chat: Chat, question: Question) -> None:
    """Raises `NoVision` when a question has pictures that the agent who answers in this chat cannot see."""
    if any(map(is_picture, question.files)):
        chosen = "" if question.chosen else (await store.memory.state(chat)).fields.get("chosen")
        if not await answerer.sees(chosen or question.agent):
            raise NoVision


class Handing:
    """Hands files to the models of this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Lock()  # who takes several units takes them alone, so nobody waits for ever
        self._units = asyncio.Semaphore(MOST_HANDED // UNIT)

    @asynccontextmanager
    async def handed(self, run: Run, files: Files) -> AsyncIterator[dict[int, list[Shown]]]:
        """What the turns of a run show, by their index. Raises `ModelFailure` when they cannot be read."""
        wanted = sum(file["bytes"] for named in files.values() for file in named if not file.get("faded"))
        taken, units = 0, min(MOST_HANDED, wanted + UNIT - 1) // UNIT
        try:
            if units:
                async with self._turn:
                    for _ in range(units):
                        await self._units.acquire()
                        taken += 1
            yield {at: [await self._fetched(run, file) for file in named] for at, named in files.items()}
        finally:
            for _ in range(taken):
                self._units.release()

    async def _fetched(self, run: Run, file: dict[str, Any]) -> Shown:
        body = None
        if not file.get("faded"):
            try:
                body = await self._store.files.bytes_of(run.chat, file["file_id"], file["bytes"])
            except RedisUnavailable as error:
                raise ModelFailure(error.code, error.detail) from error
        return Shown(file["name"], file["media_type"], body)
