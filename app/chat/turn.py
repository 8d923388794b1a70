"""The life of one reply, from the question to the memory: opened, made, ended once.

Whatever throws in it, it ends as failed with what can be written, and its place is free.
"""

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial

from loguru import logger

from app.agents.answer import Answerer
from app.agents.failures import failure
from app.chat import window
from app.chat.approval import Approving
from app.chat.handed import Handing
from app.chat.joined import to_go_on
from app.chat.line import Line
from app.chat.settle import Ending, Settler, opening
from app.clock import END_RETRY_SECONDS, UNWRITTEN_SECONDS
from app.errors import ModelFailure, RedisUnavailable
from app.events import LOST, End, Failure, Outcome, Usage, unfinished
from app.runs.held import Runs
from app.runs.run import Run
from app.store.filed import is_picture
from app.store.records import Message
from app.store.store import Store

UNEXPECTED = Failure("model_error", "The reply failed unexpectedly. Try again.")
UNWRITTEN = Failure("redis_unavailable", "The reply is here, but could not be remembered.")


@dataclass(frozen=True, slots=True)
class Turns:
    """Lives the runs of this process."""

    store: Store
    runs: Runs
    answerer: Answerer
    settler: Settler
    line: Line
    approving: Approving
    handing: Handing

    async def live(self, run: Run, history: list[Message]) -> bool:
        """One turn; whether a message waits behind it. Never raises but when it is cancelled."""
        logger.info(
            "run_id=<{}>, chat_id=<{}>, agent=<{}> | started", run.run_id, run.chat.id, run.live.agent
        )
        try:
            end = await self._reply(run, history)
            return await self._finish(run, end)
        except Exception:  # noqa: BLE001  # the root of a run: whatever it is, the run ends
            logger.exception("run_id=<{}> | unexpected failure", run.run_id)
            await self._last_resort(run)
            return True
        finally:
            self.runs.remove(run)
            run.let_go()
            await self.line.leave(run.live)

    async def _reply(self, run: Run, history: list[Message]) -> End:
        run.open(opening(run.chat, run.live))
        if run.live.continues:
            run.before = history[-1]
            run.reply.goes_on(run.before.content)
            history = to_go_on(history)
        await self.answerer.floods.asks(run.asker)
        outcome, reason, error = await self._make(run, history)
        run.reply.times[len(run.feed.events)] = time.monotonic()
        usage = run.reply.usage()
        began, first = run.reply.started, run.reply.first_token
        return End(
            outcome,
            reason,
            usage,
            _since(began, time.monotonic()),
            _since(began, first) if first else None,
            error,
        )

    async def _asked(self, run: Run, history: list[Message]) -> str:
        room = await self.answerer.room(run.live.agent, run.wishes)
        most = len(history) if run.brought else self.runs.settings.memory_max_turns
        seen = window.choose(history, most, room)
        if seen.too_long:
            raise failure("overflow")
        if not room.sees and any(map(is_picture, history[-1].files or ())):
            raise failure("no_vision")
        async with self.line.turn(run):
            try:
                return await self._put_to(run, seen)
            except ModelFailure as refusal:
                less = window.shorter(history, most, room) if run.reply.is_too_long(refusal) else None
                if less is None:
                    raise
            logger.info("run_id=<{}>, turns=<{}> | asked again with less", run.run_id, len(less.turns))
            return await self._put_to(run, less)

    async def _put_to(self, run: Run, seen: window.Window) -> str:
        run.reply.sends(len(seen.turns), sum(len(text) for _, text in seen.turns), seen.left_out)
        async with self.handing.handed(run, seen.files) as files:
            return await self.answerer.answer(
                run.live.agent, seen.turns, run.reply, run.wishes, seen.calls,
                ask=partial(self.approving.ask, run), files=files,
            )  # fmt: skip

    async def _make(self, run: Run, history: list[Message]) -> tuple[Outcome, str, Failure | None]:
        error: Failure | None = None
        reason = "failed"
        try:
            reason = await run.make(self._asked(run, history))
        except ModelFailure as failure:
            error = Failure(failure.code, failure.detail, failure.retry, failure.retry_after)
        except Exception:  # noqa: BLE001  # an agent may raise anything; its reply ends as failed
            logger.exception("run_id=<{}> | unexpected failure", run.run_id)
            error = UNEXPECTED
        run.reply.finish_text()
        stopped = run.is_cut and not run.cut_by
        run.feed.events += unfinished(run.feed.events, "stopped" if stopped else "failed")
        if run.is_cut:
            return ("failed", run.cut_by.code, run.cut_by) if run.cut_by else ("stopped", "stopped", None)
        return ("failed", error.code, error) if error else ("done", reason, None)

    async def _finish(self, run: Run, end: End) -> bool:
        """Writes the ending, then tells the readers; whether a message waits.

        A reply that cannot be written is told as failed.
        """
        give_up = time.monotonic() + UNWRITTEN_SECONDS
        if not run.is_cut:
            await asyncio.sleep(0)  # readers take what they have been shown first
        while True:
            try:
                written, waits = await self._write_end(run, end)
                break
            except RedisUnavailable as trouble:
                logger.warning("run_id=<{}>, error=<{}> | ending waits", run.run_id, trouble.detail)
                if time.monotonic() > give_up and not run.feed.ended:
                    end = _failed(end, UNWRITTEN)
                    self._tell(run, end)
                await asyncio.sleep(END_RETRY_SECONDS)
        if not run.feed.ended:
            self._tell(run, written)
        return waits

    async def _write_end(self, run: Run, end: End) -> tuple[End, bool]:
        """The end as it was written: ours, or what others decided when we had lost the run; and whether
        a message waits.
        """
        feed = run.feed
        end = next((event for event in feed.events[-1:] if isinstance(event, End)), end)
        bell = run.is_cut  # else hardly anybody waits for it, and who does looks every 100 ms
        reply = run.reply
        sent = window.facts(reply.sent_turns, reply.left_out, reply.prompt_tokens)
        ending = Ending(
            feed.events, end, feed.logged, bell=bell, seen=run.seen, before=run.before, times=reply.times,
            facts={} if run.before else sent,
        )  # fmt: skip
        written = await self.settler.end(run.chat, run.live, ending)
        if written.answer == "ended":
            return end, written.waits
        if written.answer == "gap":
            feed.logged = 0
            return await self._write_end(run, end)
        feed.forget_unshown()
        if written.record and written.record.outcome == "failed":
            return _failed(end, LOST), written.waits
        stopped = End("stopped", "stopped", end.usage, end.duration_ms, end.first_token_ms)
        return stopped, written.waits

    async def _last_resort(self, run: Run) -> None:
        """The ending itself threw: the run ends as failed, without what cannot be written."""
        feed = run.feed
        end = End("failed", UNEXPECTED.code, Usage(0, 0, False), 0, error=UNEXPECTED)
        events = feed.events[: feed.logged] or [opening(run.chat, run.live)]
        for _ in range(int(UNWRITTEN_SECONDS / END_RETRY_SECONDS)):
            try:
                await self.settler.end(
                    run.chat, run.live, Ending(events, end, feed.logged, before=run.before)
                )
                break
            except RedisUnavailable:
                await asyncio.sleep(END_RETRY_SECONDS)
        if not feed.ended:
            feed.forget_unshown()
            self._tell(run, end)

    def _tell(self, run: Run, end: End) -> None:
        self.runs.remove(run)
        run.feed.add(end)
        self.runs.metrics.count_run(run.live, run.reply, end)
        asyncio.get_running_loop().call_soon(_log_end, run, end)  # after the readers have had their turn


def _failed(end: End, failure: Failure) -> End:
    return replace(end, outcome="failed", stop_reason=failure.code, error=failure)


def _since(start: float, now: float) -> int:
    return round((now - start) * 1000)


def _log_end(run: Run, end: End) -> None:
    logger.info(
        "run_id=<{}>, chat_id=<{}>, outcome=<{}>, reason=<{}>, ms=<{}>, tokens=<{}> | ended",
        *(run.run_id, run.chat.id, end.outcome, end.stop_reason, end.duration_ms, end.usage.output_tokens),
    )
