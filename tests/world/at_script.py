"""A request while something goes wrong, on a chat of its own, and all that Redis keeps of that chat."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.world.client import Client
from tests.world.fakes.reply import HELD_TEXT
from tests.world.waiting import eventually

NAME = "Some words"  # a model's, for chats that began with `word`
PASSING = {b"version", b"way", b"handed", b"taken_back", b"swapped", b"brought"}  # it may be asked again
TIMES = re.compile(
    r'("(?:\w+_ms|\w+_tokens|seconds)": ?)[\d.]+|[0-9a-f]{32}|tooluse_[0-9a-f]{24}'
    r'|(?<=stopped_by":")\w+|(?<!\d)\d{10,}(?:\.\d+)?'
)


@dataclass
class Trial:
    """One request while one script goes wrong. `prefix` stands before the keys of its backend."""

    client: Client
    redis: Any
    chat: str
    prefix: str = ""
    known: dict[str, Any] = field(default_factory=dict)
    beside: list[asyncio.Task[int]] = field(default_factory=list)

    def run(self, n: int) -> str:
        return f"{self.chat}-run-{n}"

    async def say(self, n: int, message: str = "word", chat: str = "", **more: Any) -> int:
        """Asks and reads to the end; the status, 0 for none."""
        more = {"run_id": self.run(n), **more}
        try:
            async with self.client.chat(chat or self.chat, message, **more) as stream:
                if stream.status == 200:
                    await stream.rest()
                return stream.status
        except httpx.HTTPError:
            return 0

    async def begin(self, n: int, message: str = "hold on", **more: Any) -> None:
        """A reply that goes on beside everything else."""
        self.beside.append(asyncio.create_task(self.say(n, message, **more)))

        async def said() -> bool:
            events = await self.redis.xrange(f"{self.key}:events:{self.run(n)}")
            text = b" ".join(value for _, fields in events for value in fields.values()).decode()
            return HELD_TEXT.split()[-1] in text or '"asked"' in text

        await eventually(said, within=30)

    @property
    def key(self) -> str:
        return f"{self.prefix}chat:{{{self.chat}}}"

    async def ask(self, method: str, path: str, **more: Any) -> int:
        try:
            answer = await self.client.http.request(method, f"/api/v1/{path}", **more)
        except httpx.HTTPError:
            return 0
        return answer.status_code

    # what is kept

    async def kept(self) -> str:
        """All keys of the chat, and of those beside it whose ids begin the same; times and tokens apart."""
        found: dict[str, Any] = {}
        async for raw in self.redis.scan_iter(f"{self.prefix}chat:{{{self.chat}*", count=1000):
            key = raw.decode()
            part = key.rpartition("}")[2]
            if part in {":readers", ":gone"} or 0 < await self.redis.ttl(key) <= 3:
                continue  # it goes
            value = await self._value(key, part)
            if part.startswith(":versions:"):  # whatever its number is
                found.setdefault(key.rpartition(":")[0] + ":*", []).append(value)
            else:
                found[key] = value
        for older in (value for key, value in found.items() if key.endswith(":*")):
            older.sort()
        for key in ("chats", "queued"):
            names = [name.decode() for name in await self.redis.zrange(f"{self.prefix}{key}", 0, -1)]
            there = [f"{self.prefix}chat:{{{name}}}" in found for name in names]  # not one that has gone
            found[key] = sorted(name for name, is_there in zip(names, there, strict=True) if is_there)
        if self.known.get("noted"):
            del found["queued"]
        text = json.dumps(found, default=lambda value: value.decode("utf-8", "replace"), sort_keys=True)
        text = text.replace('\\"', '"').replace(self.chat, "CHAT")
        text = text.replace(f'"title": "{NAME}"', '"title": "word"')  # it comes when it comes
        return TIMES.sub(lambda m: (m[1] or "") + "N", text)

    async def _value(self, key: str, part: str) -> Any:
        match await self.redis.type(key):
            case b"hash" if part == ":versions":
                older = await self.redis.hgetall(key)
                return sorted(value for name, value in older.items() if not name.endswith(b":bytes"))
            case b"hash":
                fields = await self.redis.hgetall(key)
                if part == "":
                    await self._weighed(key, fields)
                return {name.decode(): value for name, value in sorted(fields.items()) if name not in PASSING}
            case b"list":
                return await self.redis.lrange(key, 0, -1)
            case b"zset":
                return sorted(await self.redis.zrange(key, 0, -1))
            case b"stream":
                rows = await self.redis.xrange(key)
                events = [value for _, fields in rows for value in fields.values()]
                return [value.split(b" ")[0] for value in events if value.startswith((b"start", b"end"))]
        return await self.redis.get(key)

    async def _weighed(self, key: str, fields: dict[bytes, bytes]) -> None:
        """What the chat says that it weighs is what it weighs; that is not the same each time."""
        lines = await self.redis.lrange(f"{key}:messages", 0, -1)
        async for older in self.redis.scan_iter(f"{key}:versions:*", count=1000):
            lines += await self.redis.lrange(older, 0, -1)
        weight = int(fields.pop(b"bytes", b"0"))
        if b"run_id" not in fields:
            assert weight == sum(map(len, lines)), f"{key} weighs {weight}"

    async def _stays(self, key: bytes) -> bool:
        return await self.redis.ttl(key) == -1 or (b"stop:" in key and not self.known.get("by key"))

    async def left(self) -> list[str]:
        """What should not be there at rest."""
        found = []
        for pattern in (f"chat:{{{self.chat}*", f"stop:{self.chat}*", "{queue}:*"):
            async for key in self.redis.scan_iter(self.prefix + pattern, count=1000):
                found += [key.decode()] if await self._stays(key) else []
        async for key in self.redis.scan_iter(f"{self.prefix}held:*", count=1000):
            rows = (await self.redis.hgetall(key)).values()
            found += [f"held {row.decode()}" for row in rows if self.chat.encode() in row]
        return found
