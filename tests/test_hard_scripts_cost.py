"""What each script costs Redis' only thread on the largest chat that is allowed, in its own time: a busy
machine adds none.
"""

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.events import Start
from app.settings import Settings
from app.store.asked import Asked
from app.store.branches import Fork
from app.store.filed import Filed
from app.store.keys import Chat
from app.store.memory import MOST_CHAT_BYTES
from app.store.records import ChatState, LastWords, LiveRun, Message, Started
from app.store.store import Store
from tests.world.pictures import png
from tests.world.redis_server import PrivateRedis

MOST_MS = 25  # moving all of it costs 3 to 10, as its core's cache is shared; decoding it would cost 80
PARTS = [{"type": "text", "text": "x" * 900}, {"type": "thinking", "text": "y" * 900}]
TIMES = 3


class Largest:
    """A chat at every one of its limits at once, and the time that Redis spends on what is done to it."""

    def __init__(self, store: Store, redis: Any) -> None:
        self.store, self.redis = store, redis
        self.chat = Chat("", "largest")
        self.turns = 0
        self.spent: dict[str, float] = {}

    def run(self) -> LiveRun:
        self.turns += 1
        name = f"run-{self.turns:05d}"
        return LiveRun(name, 0, "general", "demo", "demo", "backend-x", self.store.leases.process, name)

    async def start(self, run: LiveRun, **more: Any) -> None:
        met, _ = await self.store.memory.start(self.chat, run, Asked("🙂" * 1000, "d", **more), [])
        assert isinstance(met, Started), met

    async def end(self, run: LiveRun, size: int = 1000) -> None:
        reply = Message("assistant", "🙂" * size, 0, run.run_id, "done", {}, PARTS)
        words = LastWords(reply, [Start(*["x"] * 7)], 1)
        written = await self.store.memory.end(self.chat, run, self.store.leases.process, words)
        assert written.answer == "ended"

    async def turn(self, size: int = 1000, **more: Any) -> None:
        run = self.run()
        await self.start(run, **more)
        await self.end(run, size)

    async def fill(self) -> None:
        """Files, ten versions of a few messages, then messages until the oldest are dropped."""
        for n in range(20):
            body = png(weight=9000 + n)
            about = Filed(f"{n:064x}", "image/png", len(body), "a.png", 4, 3)
            await self.store.files.put(self.chat, about, body)
        for _ in range(300):
            await self.turn()
        for _ in range(10):
            await self.turn(replaces=f"run-{self.turns:05d}")
        fields = await self.redis.hgetall(self.chat.key)
        assert int(fields[b"bytes"]) > MOST_CHAT_BYTES * 0.4

    async def cost(self, what: str, act: Awaitable[Any]) -> Any:
        """Does it, and notes the milliseconds that Redis' thread was at work; the most of many counts."""
        before = await self._busy()
        answer = await act
        spent = (await self._busy() - before) * 1000
        self.spent[what] = max(self.spent.get(what, 0), spent)
        return answer

    async def _busy(self) -> float:
        told = await self.redis.info("cpu")
        return float(told["used_cpu_user_main_thread"]) + float(told["used_cpu_sys_main_thread"])


@pytest.fixture
async def largest(where: Path) -> AsyncIterator[Largest]:
    async with (
        PrivateRedis(where) as server,
        Redis.from_url(server.url) as redis,
        Store(Settings.model_validate({"redis_url": server.url})) as store,
    ):
        yield Largest(store, redis)


async def test_no_script_is_slow_on_the_largest_chat(largest: Largest) -> None:
    memory, branches, chat = largest.store.memory, largest.store.branches, largest.chat
    await largest.fill()
    for _ in range(TIMES):
        state = await memory.read(chat)
        first = first_question(state)
        run, plain = largest.run(), largest.run()
        await largest.cost("START in place of all", largest.start(run, replaces=first))
        await largest.cost("UNDO of that", memory.undo(chat, run))
        turns = [Message(m.role, m.content) for m in state.messages[:-2]] + [Message("assistant", "edited")]
        await largest.cost("START with all brought", largest.start(run, turns=turns))
        await memory.undo(chat, run)
        await largest.cost("START", largest.start(plain))
        await largest.cost("END", largest.end(plain, 50_000))
        state = await memory.read(chat)
        last = state.messages[-1].run_id or ""
        fork = Fork("origin", "fork", state.fields, state.messages, last)
        other = Chat("", f"other-{largest.turns}")
        assert await largest.cost("FORK", branches.fork(chat, other, fork))
        await largest.cost("DELETE", largest.store.shelf.delete(other))
        assert (await largest.cost("LINES", largest.store.finder.find("", "nowhere", 10))).complete
        await largest.turn(replaces=first_question(await memory.read(chat)))  # all the rest is a version
        for _ in range(2):
            numbers = [int(name) for name in await largest.redis.hkeys(chat.versions) if name.isdigit()]
            swap = largest.cost("SWAP of all", branches.swap(chat, max(numbers)))
            assert await swap == "swapped"
        await largest.redis.delete(chat.versions)
    spent = {what: round(ms, 1) for what, ms in largest.spent.items()}
    assert not [what for what, ms in spent.items() if ms > MOST_MS], spent


def first_question(state: ChatState) -> str:
    return next(m.run_id for m in state.messages if m.role == "user" and m.run_id)
