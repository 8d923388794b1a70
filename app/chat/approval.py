"""Asks a person before a tool is carried out, and takes the answer on whichever backend it comes.

The record in Redis decides; the bell only wakes. A run that waits has no clock and needs no reader;
where nobody answers in time the call is refused.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence

from loguru import logger

from app.agents.approval import Verdict
from app.chat.line import Line
from app.clock import APPROVAL_SECONDS, UNWRITTEN_SECONDS
from app.errors import NotAsked, NotFound, RedisUnavailable
from app.events import OPEN, Event, Tool
from app.runs.run import Run
from app.settings import Settings
from app.store.approvals import Answered, AskedCall, Lasting
from app.store.keys import Chat
from app.store.store import Store

KEPT_SECONDS = 60  # an answer that comes too late, or twice, is understood so long

_UNKNOWN = "No tool call with this id waits in this chat."
_OVER = "The reply that asked this has ended. Nothing waits any more."
_LAPSED = "Nobody answered in time, so it was refused. Nothing waits any more."
_OTHER = "This has been answered otherwise before; the first answer counts."


class Approving:
    """For the runs of this process, and for the answers that come here."""

    def __init__(self, store: Store, settings: Settings, line: Line) -> None:
        self._line = line
        self._approvals = store.approvals
        self._seconds = settings.approval_timeout_seconds
        self._waiting: dict[str, set[asyncio.Event]] = {}
        store.bells.on_answer = self._ring

    async def ask(self, run: Run, call: Tool) -> Verdict:
        """Waits until somebody answers, or the time is up. A tool answered for the whole chat is not
        asked about.
        """
        now_ms = int(time.time() * 1000)
        lapses_ms = now_ms + int(self._seconds * 1000)
        asked = AskedCall(call.tool_use_id, call.name, run.run_id, call.input, now_ms, lapses_ms, call.parent)
        answered = asyncio.Event()
        events = self._waiting.setdefault(run.chat.name, set())
        events.add(answered)
        try:
            with run.reply.patience.person():
                verdict = await self._verdict(run, call, asked, answered)
                await self._line.come_back(run)
                return verdict
        finally:
            events.discard(answered)
            if not events and self._waiting.get(run.chat.name) is events:
                del self._waiting[run.chat.name]

    async def decide(self, chat: Chat, tool_use_id: str, *, approve: bool, lasting: Lasting) -> AskedCall:
        """Answers a call that waits; the same answer twice is one.

        Raises `NotFound`, `NotAsked`, `RedisUnavailable`.
        """
        wanted: Verdict = "allowed" if approve else "refused"
        match await self._approvals.decide(chat, tool_use_id, wanted, lasting):
            case Answered(call=call, answer=answer, lasting=lasts):
                if (answer, lasts) == (wanted, lasting):
                    return call
                raise NotAsked(_LAPSED if answer == "lapsed" else _OTHER)
            case "over":
                raise NotAsked(_OVER)
        raise NotFound(_UNKNOWN)

    async def check(self, chat: Chat, tool_use_ids: Sequence[str]) -> None:
        """Raises `NotFound` where any of these calls was never asked about in this chat."""
        if not await self._approvals.all_asked(chat, tool_use_ids):
            raise NotFound(_UNKNOWN)

    async def _verdict(self, run: Run, call: Tool, asked: AskedCall, answered: asyncio.Event) -> Verdict:
        shown, until = False, time.monotonic() + self._seconds
        while True:
            answered.clear()
            verdict = await self._answer_to(run, asked, until)
            if verdict != "allowed" and not shown:
                run.reply.tool(call)
                shown = True
            if verdict:
                logger.info("run_id=<{}>, verdict=<{}> | a person was asked", run.run_id, verdict)
                return verdict
            if self._line.works(run) and idle(run.feed.events):
                await self._line.step_aside(run)
            with contextlib.suppress(TimeoutError):
                left = until - time.monotonic()
                async with asyncio.timeout(min(APPROVAL_SECONDS, left) if left > 0 else APPROVAL_SECONDS):
                    await answered.wait()

    async def _answer_to(self, run: Run, asked: AskedCall, until: float) -> Verdict | None:
        """The answer, if there is one; asked again, in case Redis has lost the question."""
        life, now = int(self._seconds) + KEPT_SECONDS, time.monotonic()
        try:
            return await self._approvals.question(run.chat, run.live, asked, life=life, lapse=now >= until)
        except RedisUnavailable as error:
            logger.warning("run_id=<{}>, error=<{}> | approval not readable", run.run_id, error.detail)
            return "lapsed" if now >= until + UNWRITTEN_SECONDS else None

    def _ring(self, name: str) -> None:
        for event in self._waiting.get(name, ()):
            event.set()


def idle(events: Iterable[Event]) -> bool:
    """Whether nothing of a run works where these events end: of its calls that are not over each waits
    for a person, or for a call inside it.
    """
    calls: dict[str, Tool] = {}
    for event in events:
        if type(event) is Tool:
            calls[event.tool_use_id] = event
    begun = {used: call for used, call in calls.items() if call.status in OPEN}
    outer = {call.parent for call in begun.values()}
    return all(call.status == "asked" or used in outer for used, call in begun.items())
