"""The chats of an owner: listed, newest activity first, deleted, and the least recently used evicted."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence

from app.errors import RedisUnavailable
from app.settings import Settings
from app.store.commands import touch
from app.store.keys import Chat, index
from app.store.lines import as_text, texts
from app.store.pieces import DECODED, HOLDER, NUMBERS
from app.store.versions import VERSIONS
from app.store.weights import Weights
from app.store.wire.connection import Connection
from app.store.wire.script import Command, Script, command

GONE_MS = 10_000  # > CALL_SECONDS: an answer that was lost is asked for again
DELETED_LOG_MS = 3000  # readers on other backends still find the terminal event
EVICT_SECONDS = 0.003  # not in front of the first token of a quick model; a burst of starts shares one go

# `log_ms`: how long the event logs still live; `spare`: not where messages wait. Those of a running
# chat are forgotten at once, so that none begins when the run has been stopped. `token`: a second
# time it finds that it was the one
DELETE = Script(
    DECODED
    + HOLDER
    + NUMBERS
    + VERSIONS
    + """
if spare == '1' and redis.call('EXISTS', queue) == 1 then return 'running' end
redis.call('UNLINK', queue)
local live = redis.call('HMGET', chat, 'run_id', 'run')
if live[1] and holder(live[2]) then return 'running' end
for _, run in ipairs(redis.call('LRANGE', ids, 0, -1)) do redis.call('PEXPIRE', logs .. run, log_ms) end
local known = redis.call('EXISTS', chat) + redis.call('EXISTS', files) > 0 and 1 or 0
if token ~= '' and known == 0 and redis.call('GET', gone) == token then return 'deleted' end
if token ~= '' and known == 1 then redis.call('SET', gone, token, 'PX', gone_ms) end
for _, version in ipairs(all_versions()) do forget_version(version) end
redis.call('UNLINK', chat, messages, runs, ids, versions, unsent, early, approvals, files)
return known == 1 and 'deleted' or 'unknown'
""",
    keys="chat messages runs ids versions queue files unsent early approvals gone logs",
    args="log_ms spare token gone_ms",
)

# some hundreds of the oldest chats beyond the number that may be kept, passing over some of them
SURPLUS = Script(
    """
local surplus = math.min(redis.call('ZCARD', index) - most, 500)
return surplus > 0 and redis.call('ZRANGE', index, skip, skip + surplus - 1) or {}
""",
    keys="index",
    args="most skip",
)


class Shelf:
    """Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, weights: Weights, settings: Settings, life: int) -> None:
        self._redis = connection
        self._weights = weights
        self._life = life
        self._most = settings.memory_max_conversations
        self._evicting: set[str] = set()

    async def listed(
        self, owner: str, limit: int, offset: int
    ) -> tuple[list[tuple[str, dict[str, str], int]], int]:
        """Chats with their fields and message counts, newest activity first, and how many there are."""
        await self._forget_expired(owner)
        key = index(owner)
        ids, count = await self._redis.do_all(
            [command("ZREVRANGE", key, offset, offset + limit - 1), command("ZCARD", key)]
        )
        chats = [Chat(owner, as_text(one)) for one in ids]
        asked = [
            one for chat in chats for one in (command("HGETALL", chat.key), command("LLEN", chat.messages))
        ]
        rows = await self._redis.do_all(asked, check=False)
        found = zip(chats, rows[::2], rows[1::2], strict=True)
        return [
            (chat.id, texts(fields), length)
            for chat, fields, length in found
            if isinstance(fields, list) and isinstance(length, int) and fields
        ], count

    async def of_all(self) -> AsyncIterator[list[Chat]]:
        """The chats of all owners by their own keys, whatever became of the lists of them; one may come
        twice.
        """
        async for keys in self._redis.keys_like(Chat("", "*").key):
            yield [Chat.of_key(key) for key in keys]

    async def delete(self, chat: Chat) -> str:
        """`deleted`, `unknown`, or `running` when a run has the chat and nothing was done."""
        weighed = await self._weights.weighed(chat.owner, [chat.id])
        answer: bytes = await self._redis.do(self._deletion(chat))
        if answer != b"running":
            with contextlib.suppress(RedisUnavailable):  # it is gone; lists and sums are set right later
                await unlist(self._redis, chat.owner, [chat.id])
                if weighed:
                    await self._weights.put_right(chat.owner, weighed)
                    await self._weights.count_rest([chat])
        return answer.decode()

    async def evict(self, owner: str) -> None:
        """Deletes the least recently used chats beyond the most that are kept, never one that runs."""
        if owner in self._evicting:
            return
        self._evicting.add(owner)
        try:
            await asyncio.sleep(EVICT_SECONDS)
            passed = 0
            while surplus := await self._redis.do(SURPLUS(index=index(owner), most=self._most, skip=passed)):
                passed += await self._delete_idle(owner, surplus)
        finally:
            self._evicting.discard(owner)

    async def _delete_idle(self, owner: str, chat_ids: list[bytes]) -> int:
        """Deletes those of these chats in which nothing runs; how many are left."""
        weighed = await self._weights.weighed(owner, [as_text(one) for one in chat_ids])
        answers = await self._redis.do_all(
            [self._deletion(Chat(owner, as_text(one)), spare=True) for one in chat_ids], check=False
        )
        done = (b"deleted", b"unknown")
        gone = [one for one, answer in zip(chat_ids, answers, strict=True) if answer in done]
        names = [as_text(one) for one in gone]
        await unlist(self._redis, owner, names)
        if freed := [one for one in weighed if one.chat_id in names]:
            await self._weights.put_right(owner, freed)
            await self._weights.count_rest(Chat(owner, one.chat_id) for one in freed)
        return len(chat_ids) - len(gone)

    def _deletion(self, chat: Chat, *, spare: bool = False) -> Command:
        """Describes how a chat is forgotten, with `spare` only one in which no message waits."""
        return DELETE(
            **chat.keys(), unsent=chat.unsent, early=chat.early, approvals=chat.approvals,
            gone=chat.gone, logs=chat.events(""), log_ms=DELETED_LOG_MS, spare=str(int(spare)),
            token="" if spare else uuid.uuid4().hex, gone_ms=GONE_MS,
        )  # fmt: skip

    async def _forget_expired(self, owner: str) -> None:
        if not self._life:
            return
        seconds, _ = await self._redis.do(command("TIME"))
        until = (int(seconds) - self._life) * 1000
        ids = await self._redis.do(command("ZRANGEBYSCORE", index(owner), "-inf", until))
        there = await self._redis.do_all([command("EXISTS", Chat(owner, as_text(one)).key) for one in ids])
        gone = [as_text(one) for one, exists in zip(ids, there, strict=True) if not exists]
        await unlist(self._redis, owner, gone)


async def unlist(redis: Connection, owner: str, chat_ids: Sequence[str]) -> None:
    """Takes chats that are gone off the index of their owner; one that has begun anew meanwhile stays."""
    if not chat_ids:
        return
    chats = [Chat(owner, one) for one in chat_ids]
    removed = command("ZREM", index(owner), *chat_ids)
    _, *there = await redis.do_all([removed, *(command("EXISTS", chat.key) for chat in chats)])
    await redis.do_all([touch(chat) for chat, exists in zip(chats, there, strict=True) if exists])
