"""The one writer of endings: for the backend that made a reply, and for any that settles what a
dead one left.

A run is never made again silently: its tools may have acted.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from loguru import logger

from app.chat.joined import joined
from app.chat.parts import parts_of
from app.errors import RedisUnavailable
from app.events import LOST, End, Event, Start, Usage, iso, reply_text, unfinished
from app.runs.metrics import Metrics
from app.store.commands import let_go
from app.store.keys import Chat
from app.store.records import LastWords, LiveRun, Message, Written
from app.store.store import Store

TRIES = 5


@dataclass(frozen=True, slots=True)
class Ending:
    """What a run said and how it ended.

    The log has the first `logged` events, and is left alone where it ends with another number than
    `expected`. `times`: see `parts`; `facts`: what is told beyond who made it; `bell`: somebody may
    wait; `seen`: what is kept ends with this event; `before`: the reply that it continues.
    """

    events: Sequence[Event]
    end: End
    logged: int
    expected: int | None = None
    bell: bool = True
    seen: int | None = None
    before: Message | None = None
    times: Mapping[int, float] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)


class Settler:
    """Writes endings, and settles the runs of processes that have died. Raises `RedisUnavailable`."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    async def end(self, chat: Chat, live: LiveRun, ending: Ending) -> Written:
        """Writes an ending, as far as whoever stopped it had seen it."""
        written = await self._write(chat, live, ending)
        if written.seen is not None:
            written = await self._write(chat, live, replace(ending, seen=written.seen))
        return written

    async def _write(self, chat: Chat, live: LiveRun, ending: Ending) -> Written:
        events, end, logged = ending.events, ending.end, ending.logged
        rest = [*events[logged:], *([] if events and events[-1] is end else [end])]
        words = LastWords(
            _reply(live, ending), rest, logged + 1, ending.expected, ending.bell, ending.seen, _open(end)
        )
        return await self._store.memory.end(chat, live, self._store.leases.process, words)

    async def settle(self, chat: Chat, live: LiveRun) -> bool:
        """Ends this run as failed unless it has ended meanwhile; whether we were the one."""
        for _ in range(TRIES):
            found = await self._store.log.read(chat, live.run_id)
            events = [*(found or [opening(chat, live)])]
            events += unfinished(events, "failed")
            end = _lost(events, live)
            before = await self._store.memory.last_message(chat) if live.continues else None
            ending = Ending(events, end, logged=len(found), expected=len(found), before=before)
            answer = (await self.end(chat, live, ending)).answer
            if answer == "moved":
                continue
            await self._store.redis.do_all(let_go(chat, live))
            if answer == "ended":
                self._metrics.settled.inc()
                logger.warning(
                    "run_id=<{}>, chat_id=<{}> | settled, its backend is lost", live.run_id, chat.id
                )
            return answer == "ended"
        return False

    async def settle_process(self, process: str) -> None:
        """Settles every run of a process that has died, then forgets it; one that cannot be settled
        now stays.
        """
        left = 0
        for chat, live in await self._runs_of(process):
            try:
                await self.settle(chat, live)
            except RedisUnavailable as error:
                left += 1
                logger.warning("run_id=<{}>, error=<{}> | not settled yet", live.run_id, error.detail)
        if not left:
            await self._store.leases.forget(process)

    async def _runs_of(self, process: str) -> list[tuple[Chat, LiveRun]]:
        """What is on its list and still runs, and what its list has lost."""
        found = await self._live([one.chat for one in await self._store.leases.held(process)], process)
        async for chats in self._store.shelf.of_all():
            found |= await self._live(chats, process)
        return list(found.items())

    async def _live(self, chats: Sequence[Chat], process: str) -> dict[Chat, LiveRun]:
        runs = await self._store.memory.live(chats)
        found = zip(chats, runs, strict=True)
        return {chat: live for chat, live in found if live and live.process == process}


def opening(chat: Chat, live: LiveRun) -> Start:
    """The first event of a run."""
    at = iso(live.started_ms)
    return Start(live.run_id, chat.id, live.agent, live.provider, live.model, live.backend, at)


def _reply(live: LiveRun, ending: Ending) -> Message:
    """The message that is kept."""
    outcome = ending.end.outcome
    events = ending.events if outcome == "done" else ending.events[: ending.seen]
    facts = _facts(live, ending.end) | dict(ending.facts)
    parts = parts_of(events, outcome, ending.times)
    reply = Message("assistant", reply_text(events), 0, live.run_id, outcome, facts, parts)
    return joined(ending.before, reply) if ending.before else reply


def _open(end: End) -> bool:
    """Whether a reply that ends so can go on."""
    return end.outcome != "done" or end.stop_reason == "max_tokens"


def _facts(live: LiveRun, end: End) -> dict[str, object]:
    """What the page shows under a reply."""
    told: dict[str, object] = {
        "agent": live.agent,
        "provider": live.provider,
        "model": live.model,
        "backend": live.backend,
        "first_token_ms": end.first_token_ms,
        "duration_ms": end.duration_ms,
        "usage": asdict(end.usage),
        "stop_reason": end.stop_reason,
    }
    if end.error:
        told["error"] = end.error.told()
    return told


def _lost(events: Sequence[Event], live: LiveRun) -> End:
    usage = Usage(0, len(reply_text(events)) // 4, False)
    duration = max(0, int(time.time() * 1000) - live.started_ms)
    return End("failed", LOST.code, usage, duration, error=LOST)
