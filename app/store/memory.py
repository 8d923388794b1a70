"""The chats: messages, titles, who runs in them. Every change of a chat is one script, fenced by the run's
id.

Times come from Redis alone, so the clocks of the backends may differ.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from app.errors import NotFound
from app.settings import Settings
from app.store.eventlog import numbered
from app.store.keys import Chat, index
from app.store.records import (
    Asked,
    ChatState,
    Ending,
    Known,
    LastWords,
    LiveRun,
    Message,
    Started,
    describe,
    live_run,
    read_ending,
    title_of,
)
from app.store.scripts import DELETE, END, RENAME, START, SURPLUS, TOUCH, UNDO
from app.store.wire.connection import Connection
from app.store.wire.node import Command, pairs

DELETED_LOG_MS = 3000  # readers on other backends still find the terminal event
EVICT_SECONDS = 0.003  # not in front of the first token of a quick model; a burst of starts shares one go

SCRIPTS = (START, END, UNDO, DELETE, TOUCH, SURPLUS, RENAME)


class Memory:
    """The chats in Redis. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._redis = connection
        self._keeps = settings.enable_memory
        self._keep = settings.memory_keep_messages
        self._history = settings.memory_max_turns * 4
        self._replay = settings.replay_ttl_seconds
        self._life = settings.memory_ttl_min * 60 if self._keeps else settings.replay_ttl_seconds
        self._life_running = max(self._life, int(settings.run_timeout_seconds) + 120)
        self._most = settings.memory_max_conversations
        self._evicting: set[str] = set()

    async def start(
        self, chat: Chat, run: LiveRun, asked: Asked, also: Sequence[Command]
    ) -> tuple[Started | Known | LiveRun, list[Any]]:
        """Takes the chat for a run and stores its message, or says what is in the way; `also` goes along,
        first.
        """
        message = Message("user", asked.text, run_id=run.run_id).line() if self._keeps else ""
        script = START(
            (chat.key, chat.messages, chat.runs, chat.early, chat.events(run.run_id)),
            *(run.run_id, run.attempt, asked.digest, describe(run), message, run.agent),
            *(title_of(asked.text) if self._keeps else "", asked.replaces or ""),
            *(self._life_running, self._keep, self._history),
        )
        touch = [TOUCH((index(chat.owner),), chat.id, "")] if self._keeps else []
        results = await self._redis.calls([*also, script, *touch])
        crowded = bool(touch) and results[-1] > self._most
        return self._answer(results[len(also)], crowded), results[: len(also)]

    @staticmethod
    def _answer(row: list[Any], crowded: bool) -> Started | Known | LiveRun:
        match row[0]:
            case b"started":
                return Started(int(row[1]), bool(row[2]), [Message.read(line) for line in row[3]], crowded)
            case b"known":
                ending = read_ending(row[1])
                backend = ending.backend if ending else json.loads(row[2]).get("backend")
                return Known(row[1].decode().split(" ")[0], ending is None, backend)
            case b"busy":
                live = live_run(*(part.decode() for part in row[1:]))
                assert live  # noqa: S101  # the script answers with all three
                return live
        raise NotFound("That question is no longer kept, so it cannot be asked again in its place.")

    def end(self, chat: Chat, run: LiveRun, writer: str, words: LastWords) -> list[Command]:
        """The commands that end a run; `ended` reads what the first one answers.

        `writer` is the process that asks.
        """
        script = END(
            (chat.key, chat.messages, chat.runs, chat.events(run.run_id), chat.early),
            *(
                run.run_id,
                writer,
                words.reply.outcome,
                run.backend,
                words.reply.line() if self._keeps else "",
            ),
            *(self._keep, self._life, self._replay, "" if words.expected is None else words.expected),
            *numbered(words.events, words.first),
        )
        return [script, *([TOUCH((index(chat.owner),), chat.id, "known")] if self._keeps else [])]

    async def undo(self, chat: Chat, run: LiveRun) -> None:
        """Takes back a start of which we do not know whether it was carried out."""
        keys = (chat.key, chat.messages, chat.runs)
        await self._redis.call(*UNDO(keys, run.run_id, run.attempt, int(self._keeps)))

    async def read(self, chat: Chat) -> ChatState:
        """The chat with all its kept messages; no fields when it is unknown."""
        fields, lines = await self._redis.calls([("HGETALL", chat.key), ("LRANGE", chat.messages, 0, -1)])
        return ChatState(_texts(fields), [Message.read(line) for line in lines])

    async def state(self, chat: Chat) -> ChatState:
        """The chat without its messages."""
        return ChatState(_texts(await self._redis.call("HGETALL", chat.key)), [])

    async def live(self, chats: Sequence[Chat]) -> list[LiveRun | None]:
        """What runs in each of these chats."""
        rows = await self._redis.calls([("HMGET", chat.key, "run_id", "run_at", "run") for chat in chats])
        return [live_run(*(part.decode() if part else None for part in row)) for row in rows]

    async def ending(self, chat: Chat, run_id: str) -> Ending | None:
        """How this run ended, if it is known and has."""
        record = await self._redis.call("HGET", chat.runs, run_id)
        return read_ending(record)

    async def listed(
        self, owner: str, limit: int, offset: int
    ) -> tuple[list[tuple[str, dict[str, str], int]], int]:
        """Chats with their fields and message counts, newest activity first, and how many there are."""
        await self._forget_expired(owner)
        key = index(owner)
        ids, count = await self._redis.calls([("ZREVRANGE", key, offset, offset + limit - 1), ("ZCARD", key)])
        chats = [Chat(owner, one.decode()) for one in ids]
        rows = await self._redis.calls(
            [command for chat in chats for command in (("HGETALL", chat.key), ("LLEN", chat.messages))]
        )
        pairs = zip(chats, rows[::2], rows[1::2], strict=True)
        return [(chat.id, _texts(fields), length) for chat, fields, length in pairs if fields], count

    async def rename(self, chat: Chat, title: str) -> bool:
        """Whether there was such a chat to rename."""
        return bool(await self._redis.call(*RENAME((chat.key,), title)))

    async def delete(self, chat: Chat) -> str:
        """`deleted`, `unknown`, or `running` when a run has the chat and nothing was done."""
        answer: bytes = await self._redis.call(*self._deletion(chat))
        if answer != b"running":
            await self._redis.call("ZREM", index(chat.owner), chat.id)
        return answer.decode()

    async def evict(self, owner: str) -> None:
        """Deletes the least recently used chats beyond the most that are kept, never one that runs."""
        if owner in self._evicting:
            return
        self._evicting.add(owner)
        try:
            await asyncio.sleep(EVICT_SECONDS)
            running = 0
            while surplus := await self._redis.call(*SURPLUS((index(owner),), self._most, running)):
                running += await self._delete_idle(owner, [one.decode() for one in surplus])
        finally:
            self._evicting.discard(owner)

    async def _delete_idle(self, owner: str, chat_ids: list[str]) -> int:
        """Deletes those of these chats in which nothing runs; in how many something does."""
        answers = await self._redis.calls([self._deletion(Chat(owner, one)) for one in chat_ids])
        gone = [one for one, answer in zip(chat_ids, answers, strict=True) if answer != b"running"]
        if gone:
            await self._redis.call("ZREM", index(owner), *gone)
        return len(chat_ids) - len(gone)

    @staticmethod
    def _deletion(chat: Chat) -> Command:
        return DELETE((chat.key, chat.messages, chat.runs, chat.early, chat.events("")), DELETED_LOG_MS)

    async def _forget_expired(self, owner: str) -> None:
        key = index(owner)
        seconds, _ = await self._redis.call("TIME")
        ids = await self._redis.call("ZRANGEBYSCORE", key, "-inf", (int(seconds) - self._life) * 1000)
        if ids:
            there = await self._redis.calls([("EXISTS", Chat(owner, one.decode()).key) for one in ids])
            gone = [one for one, exists in zip(ids, there, strict=True) if not exists]
            if gone:
                await self._redis.call("ZREM", key, *gone)


def _texts(fields: list[bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in pairs(fields)}
