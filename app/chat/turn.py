"""The life of a run: ask the model, stream, end exactly once, remember. `live` reads from top to bottom."""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Protocol

from loguru import logger

from app.chat.settle import facts, opening
from app.errors import ModelFailure, RedisUnavailable
from app.events import End, Failure, Outcome, reply_text, unfinished
from app.runs.held import Runs
from app.runs.logwriter import LOST
from app.runs.run import Run
from app.store.bells import end_bell
from app.store.leases import Leases
from app.store.memory import Memory
from app.store.records import LastWords, Message, ended
from app.store.stops import Stops
from app.store.wire.connection import Connection

UNWRITTEN_SECONDS = 15.0  # so long a finished reply waits for Redis before its readers are told
RETRY_SECONDS = 0.25


class Answerer(Protocol):
    """What makes replies: `app.agents.answer.Answerer`; nothing else knows Strands."""

    def model_id(self, agent: str) -> str:
        """The model of this agent. Raises `UnknownAgent`."""

    async def answer(self, agent: str, turns: list[tuple[str, str]], run: Run) -> str:
        """Pours the reply into the run; the model's stop reason. Raises `ModelFailure`."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Lives the runs of this process."""

    redis: Connection
    memory: Memory
    stops: Stops
    leases: Leases
    runs: Runs
    answerer: Answerer
    max_turns: int

    async def live(self, run: Run, question: str, history: list[Message]) -> None:
        """One turn, from the question to the memory."""
        logger.info(
            "run_id=<{}>, chat_id=<{}>, agent=<{}> | started", run.run_id, run.chat.id, run.live.agent
        )
        run.open(opening(run.chat, run.live))
        turns = for_model(history, self.max_turns) or [("user", question)]
        outcome, reason, error = await self._make(run, turns)
        usage = run.usage(sum(len(text) for _, text in turns))
        first = _since(run.started, run.first_token) if run.first_token else None
        await self._finish(
            run, End(outcome, reason, usage, _since(run.started, time.monotonic()), first, error)
        )

    async def _make(self, run: Run, turns: list[tuple[str, str]]) -> tuple[Outcome, str, Failure | None]:
        error: Failure | None = None
        reason = "failed"
        try:
            reason = await run.make(self.answerer.answer(run.live.agent, turns, run))
        except ModelFailure as failure:
            error = Failure(failure.code, failure.detail, failure.retry, failure.retry_after)
        except Exception:  # noqa: BLE001  # the root of a run: whatever it is, the run ends
            logger.exception("run_id=<{}> | unexpected failure", run.run_id)
            error = Failure("model_error", "The reply failed unexpectedly. Try again.")
        run.finish_text()
        stopped = run.is_cut and not run.cut_by
        run.feed.events += unfinished(run.feed.events, "stopped" if stopped else "failed")
        if run.is_cut:
            return ("failed", run.cut_by.code, run.cut_by) if run.cut_by else ("stopped", "stopped", None)
        return ("failed", error.code, error) if error else ("done", reason, None)

    async def _finish(self, run: Run, end: End) -> None:
        """Writes the ending, then tells the readers; a reply that cannot be written is told as failed."""
        give_up = time.monotonic() + UNWRITTEN_SECONDS
        if not run.is_cut:
            await asyncio.sleep(0)  # readers take what they have been shown first
        while True:
            try:
                written = await self._write_end(run, end)
                break
            except RedisUnavailable as trouble:
                logger.warning("run_id=<{}>, error=<{}> | ending waits", run.run_id, trouble.detail)
                if time.monotonic() > give_up and not run.feed.ended:
                    end = _failed(
                        end, Failure("redis_unavailable", "The reply is here, but could not be remembered.")
                    )
                    self._tell(run, end)
                await asyncio.sleep(RETRY_SECONDS)
        if not run.feed.ended:
            self._tell(run, written)

    async def _write_end(self, run: Run, end: End) -> End:
        """The end as it was written: ours, or what others decided when we had lost the run."""
        events = run.feed.events[run.logged :]
        reply = Message(
            "assistant", reply_text(run.feed.events), 0, run.run_id, end.outcome, facts(run.live, end)
        )
        words = LastWords(reply, events if run.feed.ended else [*events, end], run.logged + 1)
        commands = [
            *self.memory.end(run.chat, run.live, self.leases.process, words),
            self.stops.taken(run.chat, run.run_id),
            self.leases.release(run.live),
        ]
        if run.is_cut:  # else hardly anybody waits for it, and who does looks every 100 ms
            commands.append(end_bell(run.live))
        answer, ending = ended((await self.redis.calls(commands))[0])
        if answer == "ended":
            return end
        if answer == "gap":
            run.logged = 0
            return await self._write_end(run, end)
        run.feed.forget_unshown()
        if ending and ending.outcome == "failed":
            return _failed(end, LOST)
        return End("stopped", "stopped", end.usage, end.duration_ms, end.first_token_ms)

    def _tell(self, run: Run, end: End) -> None:
        self.runs.remove(run)
        run.feed.add(end)
        asyncio.get_running_loop().call_soon(_log_end, run, end)  # after the readers have had their turn


def for_model(history: list[Message], most: int) -> list[tuple[str, str]]:
    """Role and text of the newest messages: a user's first, strictly alternating, no empty reply nor its
    question.
    """
    turns: list[tuple[str, str]] = []
    for message in history:
        if message.role == "user":
            if turns and turns[-1][0] == "user":
                turns.pop()
            turns.append(("user", message.content))
        elif turns and turns[-1][0] == "user":
            if message.content.strip() and not _blocked(message):
                turns.append(("assistant", message.content))
            else:
                turns.pop()
    turns = turns[-most:]
    return turns[1:] if turns and turns[0][0] == "assistant" else turns


def _blocked(reply: Message) -> bool:
    """Whether a guardrail spoke instead of the model: what it blocks once it would block in each turn."""
    return (reply.facts or {}).get("stop_reason") == "guardrail_intervened"


def _failed(end: End, failure: Failure) -> End:
    return replace(end, outcome="failed", stop_reason=failure.code, error=failure)


def _since(start: float, now: float) -> int:
    return round((now - start) * 1000)


def _log_end(run: Run, end: End) -> None:
    logger.info(
        "run_id=<{}>, chat_id=<{}>, outcome=<{}>, reason=<{}>, ms=<{}>, tokens=<{}> | ended",
        *(run.run_id, run.chat.id, end.outcome, end.stop_reason, end.duration_ms, end.usage.output_tokens),
    )
