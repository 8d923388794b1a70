"""The chats: messages, titles, who runs in them. Every change of a chat is one script, fenced by
the run's id.

Times come from Redis alone, so the clocks of the backends may differ.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.errors import NotFound, NotOpen, QueueFull, RedisUnavailable
from app.settings import Settings
from app.store.asked import Asked
from app.store.becoming import compared
from app.store.bells import Bells
from app.store.commands import let_go, touch
from app.store.eventlog import numbered
from app.store.files import NO_FILE
from app.store.keys import Chat, index
from app.store.large import Large
from app.store.lines import as_text, readable, temperature_of, texts
from app.store.records import (
    ChatState,
    Known,
    LastWords,
    LiveRun,
    Message,
    OtherAgent,
    RunRecord,
    Started,
    Written,
)
from app.store.scripts import END, START, UNDO
from app.store.shelf import unlist
from app.store.titles import title_of
from app.store.versions import read_versions
from app.store.waiting import NOWHERE, Waiting, read_all
from app.store.weights import dropped
from app.store.wire.connection import Connection
from app.store.wire.script import Command, command
from app.store.written import syncing, written

MOST_CHAT_BYTES = 2 * 1024 * 1024  # of the messages and versions of a chat; two of the longest replies
PAGE = 25  # messages per read
LOOKED_AT = 200  # chats in one exchange
AT_ONCE = 4  # chats read at the same time: what their pages hold in Redis's buffers and here is bounded
READ_TRIES = 3
START_TRIES = 5


class Memory:
    """The chats in Redis. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, bells: Bells, settings: Settings) -> None:
        self._redis = connection
        self._bells = bells
        self._keeps = settings.enable_memory
        self._keep = settings.memory_keep_messages
        self._history = settings.memory_max_turns * 4
        self._replay = settings.replay_ttl_seconds
        self.life = settings.memory_ttl_min * 60 if self._keeps else settings.replay_ttl_seconds
        self._most = settings.memory_max_conversations
        self._reading = asyncio.Semaphore(AT_ONCE)
        self._large = Large()

    # a run: started, taken back, ended

    async def start(
        self, chat: Chat, run: LiveRun, asked: Asked, also: Sequence[Command]
    ) -> tuple[Started | Known | LiveRun | Waiting | OtherAgent, list[Any]]:
        """Takes the chat for a run and stores its message, or says what is in the way; `also` goes
        along, first.

        Raises `NotFound` when the question that is to be replaced, or a file, is not kept, `NotOpen` when the
        reply that is to go on cannot, `QueueFull`.
        """
        for _ in range(START_TRIES):
            results = await self._tried(chat, run, asked, also)
            if results[len(also)] != [b"moved"]:
                crowded = self._keeps and run.keep and results[-1] > self._most
                return self._met(results[len(also)], crowded), results[: len(also)]
        raise RedisUnavailable("The chat changes faster than it can be read. Try again.")

    async def _tried(self, chat: Chat, run: LiveRun, asked: Asked, also: Sequence[Command]) -> list[Any]:
        keeps = self._keeps and run.keep
        becomes = None
        if keeps and asked.turns is not None:
            turns = asked.turns[-self._keep :]
            becomes = await compared(self._redis, chat, turns, run.attempt, own=bool(asked.text))
        script = START(
            *(becomes.lines if becomes else ()),
            **chat.keys(), early=chat.early, events=chat.events(run.run_id),
            run_id=run.run_id, attempt=run.attempt, digest=asked.digest, run=run.described(),
            message=asked.message() if keeps and asked.text else "", agent=run.agent,
            chosen="1" if asked.chosen else "", title=title_of(_first_words(asked)) if keeps else "",
            replaces=asked.replaces or "", continues=asked.continues or "", history=self._history,
            becomes=becomes.place if becomes else "", looked=becomes.looked if becomes else "",
            unsent=chat.unsent,
            line=asked.line, waiting=asked.waiting, named=asked.must_be_there(),
            instructions=asked.instructions,
            temperature="" if asked.temperature is None else str(asked.temperature),
        )  # fmt: skip
        return await self._redis.do_all([*also, script, *([touch(chat)] if keeps else [])])

    def _met(self, row: list[Any], crowded: bool) -> Started | Known | LiveRun | Waiting | OtherAgent:
        match row:
            case [b"started", at_ms, stopped, lines, instructions, temperature, last]:
                warmth = temperature_of(as_text(temperature))
                told, before = as_text(instructions), RunRecord.read(last)
                return Started(int(at_ms), bool(stopped), readable(lines), crowded, told, warmth, before)
            case [b"agent", name]:
                return OtherAgent(as_text(name))
            case [b"closed"]:
                raise NotOpen("Only the last reply can go on, when it was stopped, failed or was cut short.")
            case [b"known", record, live]:
                known = RunRecord.read(record) or RunRecord()
                holder = LiveRun.read(live)
                backend = holder.backend if holder else known.backend
                return Known(known.digest, not known.outcome, backend or None)
            case [b"waits", position, entry]:
                found = read_all([entry])
                return replace(found[0], position=position) if found else NOWHERE
            case [b"nofile"]:
                raise NotFound(NO_FILE)
            case [b"full"]:
                raise QueueFull("Too many messages wait in this chat already. Let some be answered first.")
            case [b"busy", described]:
                return LiveRun.read(described) or LiveRun.nobody()
        raise NotFound("That question is no longer kept, so it cannot be asked again in its place.")

    async def undo(self, chat: Chat, run: LiveRun, asked: Asked | None = None) -> None:
        """Takes back a start of which we do not know whether it was carried out, all of it."""
        keeps = self._keeps and run.keep
        stored = str(int(keeps and (asked is None or bool(asked.text))))
        script = UNDO(
            **chat.keys(), early=chat.early,
            run_id=run.run_id, attempt=run.attempt, stored=stored, life=self.life,
        )  # fmt: skip
        undone, *before = await self._redis.do(script)
        if not undone or not keeps:
            return
        if at := before[0].decode():
            await self._redis.do(command("ZADD", index(chat.owner), at, chat.id))
        else:
            await unlist(self._redis, chat.owner, [chat.id])

    async def end(self, chat: Chat, run: LiveRun, writer: str, words: LastWords) -> Written:
        """Ends a run in one step and rings: its reply, its last events, its record; `writer` is the
        process that asks. Unless it may have moved on, the run is let go of. Returns when all is written.
        """
        channel, bell = self._bells.end_bell(run)
        keeps = self._keeps and run.keep
        script = END(
            *numbered(words.events, words.first),
            **chat.keys(), events=chat.events(run.run_id), early=chat.early,
            run_id=run.run_id, writer=writer, outcome=words.reply.outcome or "",
            open="1" if words.open else "", backend=run.backend,
            reply=words.reply.body() if keeps else "", keep=self._keep, most_bytes=MOST_CHAT_BYTES,
            life=self.life if keeps else self._replay, replay=self._replay, channel=channel,
            bell=bell if words.bell else "",
            expected=_or_none(words.expected), seen=_or_none(words.seen),
        )  # fmt: skip
        moved_up = [touch(chat, known=True)] if keeps else []
        brought = [] if run.keep else [command("UNLINK", chat.files), dropped(chat)]  # for this reply only
        settled = words.expected is not None
        left = [] if settled else [command("EXISTS", chat.queue), *let_go(chat, run)]
        sent = [script, syncing(chat), *left, *moved_up, *brought]
        row, is_late, *more = await self._redis.do_all(sent)
        if is_late:
            await written(self._redis, chat)
        waits = bool(left and more[0])
        match row:
            case [b"seen", number]:
                return Written("seen", seen=int(number))
            case [answer, record]:
                return Written(answer.decode(), RunRecord.read(record), waits=waits)
        return Written(row[0].decode(), waits=waits)

    # reading

    async def state(self, chat: Chat) -> ChatState:
        """The chat without its messages; no fields when it is unknown."""
        return ChatState(texts(await self._redis.do(command("HGETALL", chat.key))))

    async def read(self, chat: Chat) -> ChatState:
        """The chat with all its kept messages, read in pages."""
        async with self._reading:
            for _ in range(READ_TRIES):
                if state := await self._read_pages(chat):
                    return state
        raise NotFound("The chat changes faster than it can be read. Try again.")

    async def _read_pages(self, chat: Chat) -> ChatState | None:
        """None when what was read before was dropped or replaced meanwhile."""
        lines: list[bytes] = []
        before: dict[str, str] | None = None
        while True:
            page = command("LRANGE", chat.messages, len(lines), len(lines) + PAGE - 1)
            lists = [command("LRANGE", key, 0, -1) for key in (chat.queue, chat.unsent)]
            hashed, found, queued, unsent, kept = await self._redis.do_all(
                [command("HGETALL", chat.key), page, *lists, command("HGETALL", chat.versions)]
            )
            fields = texts(hashed)
            if before is not None and _changed(fields, before):
                return None
            before, lines = fields, lines + found
            if len(found) < PAGE:
                break
        older, hashed = await read_versions(self._redis, chat, kept)
        if hashed is not None and _changed(texts(hashed), fields):
            return None
        await self._large.passed(lines, self._reading)
        return ChatState(fields, readable(lines), read_all(queued), older, read_all(unsent))

    def expires_ms(self, fields: Mapping[str, str]) -> int | None:
        """When a chat with these fields is forgotten if nothing happens in it; None where it never is."""
        life = 0 if "run_id" in fields else self.life
        at = fields.get("updated_at", "")
        return int(at) + life * 1000 if life and at.isdigit() else None

    async def last_message(self, chat: Chat) -> Message | None:
        """The newest message, if it can be read."""
        found = readable(await self._redis.do(command("LRANGE", chat.messages, -1, -1)))
        return found[0] if found else None

    async def live(self, chats: Sequence[Chat]) -> list[LiveRun | None]:
        """What runs in each of these chats."""
        rows: list[Any] = []
        for first in range(0, len(chats), LOOKED_AT):
            asked = [command("HGET", chat.key, "run") for chat in chats[first : first + LOOKED_AT]]
            rows += await self._redis.do_all(asked, check=False)
        return [LiveRun.read(row) if isinstance(row, bytes) else None for row in rows]

    async def record(self, chat: Chat, run_id: str) -> RunRecord | None:
        """What is kept of this run, if it is known."""
        return RunRecord.read(await self._redis.do(command("HGET", chat.runs, run_id)))


def _changed(fields: Mapping[str, str], before: Mapping[str, str]) -> bool:
    """Whether what was read before has been dropped or replaced."""
    return any(fields.get(name) != before.get(name) for name in ("first", "version"))


def _or_none(number: int | None) -> str | int:
    return "" if number is None else number


def _first_words(asked: Asked) -> str:
    return next((turn.content for turn in asked.turns or () if turn.role == "user"), asked.text)
