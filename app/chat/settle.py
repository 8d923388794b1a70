"""Ends the runs of backends that died, with the text that their logs hold. Any backend may do it; one
succeeds.

A run is never made again silently: its tools may have acted.
"""

import time
from dataclasses import asdict

from loguru import logger

from app.events import End, Event, Failure, Start, Usage, reply_text, unfinished
from app.store.bells import end_bell
from app.store.eventlog import EventLog
from app.store.keys import Chat
from app.store.leases import Leases
from app.store.memory import Memory
from app.store.records import LastWords, LiveRun, Message, ended
from app.store.wire.connection import Connection
from app.times import iso

TRIES = 5
LOST = Failure(
    "backend_lost",
    "The backend that made this reply was lost. What it had written is kept; ask again to go on.",
)


class Settler:
    """Settles single runs on request, and all runs of dead processes."""

    def __init__(self, connection: Connection, memory: Memory, log: EventLog, leases: Leases) -> None:
        self._redis = connection
        self._memory = memory
        self._log = log
        self._leases = leases

    async def settle(self, chat: Chat, live: LiveRun) -> bool:
        """Ends this run as failed unless it has ended meanwhile; whether we were the one."""
        for _ in range(TRIES):
            events = await self._log.read(chat, live.run_id)
            missing: list[Event] = [] if events else [opening(chat, live)]
            missing += unfinished(events, "failed")
            end = _end([*events, *missing], live)
            reply = Message("assistant", reply_text(events), 0, live.run_id, "failed", facts(live, end))
            words = LastWords(reply, [*missing, end], len(events) + 1, expected=len(events))
            commands = self._memory.end(chat, live, self._leases.process, words)
            answer, _ = ended((await self._redis.calls(commands))[0])
            if answer == "moved":
                continue
            await self._redis.calls([self._leases.release(live), end_bell(live)])
            if answer == "ended":
                logger.warning(
                    "run_id=<{}>, chat_id=<{}> | settled, its backend is lost", live.run_id, chat.id
                )
            return answer == "ended"
        return False

    async def settle_process(self, process: str) -> None:
        """Settles every run of a process that has died, then forgets it."""
        for one in await self._leases.held(process):
            live = (await self._memory.state(one.chat)).live
            if live and live.run_id == one.run_id and live.process == process:
                await self.settle(one.chat, live)
        await self._leases.forget(process)


def opening(chat: Chat, live: LiveRun) -> Start:
    """The first event of a run."""
    return Start(
        live.run_id, chat.id, live.agent, live.provider, live.model, live.backend, iso(live.started_ms)
    )


def facts(live: LiveRun, end: End) -> dict[str, object]:
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


def _end(events: list[Event], live: LiveRun) -> End:
    usage = Usage(0, len(reply_text(events)) // 4, False)
    duration = max(0, int(time.time() * 1000) - live.started_ms)
    return End("failed", LOST.code, usage, duration, error=LOST)
