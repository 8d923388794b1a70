"""What models, neighbours in Redis and rude clients do to a running system, and what must hold meanwhile."""

import asyncio
import contextlib
import json
import random
import time
from typing import Any

import httpx

from tests.world.fakes.reply import Reply, ToolCall
from tests.world.pictures import png
from tests.world.redis_server import command, connect
from tests.world.rough import Rough
from tests.world.uploads import sent
from tests.world.waiting import eventually

UNHELD_SECONDS = 30  # 15 s are promised; one more fault may come in between
GARBAGE = ["not json", "\x00\x7f", "[]", "{}", "null", '{"role": 1}', "1 x {", "9" * 400]
ODD = (("SET", "x"), ("RPUSH", "x"), ("HSET", "x", "y"), ("ZADD", "1", "x"), ("XADD", "1-0", "x", "y"))
PARTS = ["", ":messages", ":runs", ":ids", ":versions", ":early", ":queue", ":unsent", ":readers"]
PARTS += [":files", ":approvals", ":versions:1"]
FAT = "🙂" * 3900
FAT_TURNS = 60  # of 32 KB: a chat at its limit in bytes
CAREFUL = 'description = "asks"\nprompt = "Ask."\ntools = ["calculate"]\napprove = ["calculate"]\n'
CALL = {"function": {"name": "calculate", "arguments": {"expression": "1+1"}}}


class Mischief:
    """Deeds that a rough cluster must bear. Chats of its own are named `mischief-…`."""

    def __init__(self, rough: Rough, chance: random.Random) -> None:
        self.rough = rough
        self.chance = chance
        self.made = 0
        many = json.dumps({"message": {"role": "assistant", "content": "", "tool_calls": [CALL] * 40_000}})
        rough.ollama.on("flood of thoughts", Reply(thinking=["x" * 10_000] * 3000))
        rough.ollama.on("many tools", Reply(raw=[many.encode() + b"\n"]))
        rough.ollama.on("odd probe", Reply(tokens=20))
        call = ToolCall("calculate", {"expression": "6*7"})
        rough.ollama.on("ask me first", Reply(tool=call, tokens=2))

    def _new(self) -> str:
        self.made += 1
        return f"mischief-{self.made}"

    async def _ask(self, chat_id: str, message: str, seconds: float = 20, **more: Any) -> None:
        """Asks and reads, whatever comes of it."""
        async with self.rough.cluster.client() as client:
            try:
                async with client.chat(chat_id, message, **more) as stream:
                    if stream.status == 200:
                        await stream.rest(seconds)
            except (httpx.HTTPError, TimeoutError, AssertionError):
                return

    async def types(self) -> None:
        """Another type under each key of a chat and under those that all share."""
        chat_id = self._new()
        await self._ask(chat_id, "odd probe")
        async with connect(self.rough.redis.url) as redis:
            keys = [f"chat:{{{chat_id}}}{part}" for part in PARTS] + [f"stop:{chat_id}"]
            keys += [key async for key in redis.scan_iter("held:*")]
            keys += ["backends", "stopped", "chats", "queued", "{queue}:waiting", "{queue}:who"]
            for key in keys:
                name, *rest = self.chance.choice(ODD)
                await redis.delete(key)
                await command(redis, name, key, *(["x", "y"] if name == "HSET" else rest))
            await self._ask(chat_id, "odd probe")
            await redis.delete(f"stop:{chat_id}")
            for key in keys:
                if key.startswith("held:") and await redis.type(key) != "hash":
                    await redis.delete(key)
                elif key.startswith("held:"):
                    await redis.hdel(key, "x")  # nobody reads what is no run, and nobody removes it

    async def garbage(self) -> None:
        """Entries that nobody can read, and an event of another version, among those that are well."""
        chat_id = self._new()
        await self._ask(chat_id, "odd probe")
        key = f"chat:{{{chat_id}}}"
        async with connect(self.rough.redis.url) as redis:
            for n, value in enumerate(GARBAGE):
                await redis.hset("held:0000", f"x{n}", value)
                await redis.hset("backends", f"garbage-{n}", value)
                await redis.rpush(f"{key}:messages", value)
                await redis.rpush(f"{key}:queue", value)
                await redis.hset(f"{key}:runs", f"garbage-{n}", value)
                await redis.hset(key, mapping={"bytes": value, "first": value})
            async for log in redis.scan_iter(f"{key}:events:*"):
                await redis.xadd(log, {"9999": 'hologram {"depth": 3}'}, id="9999-0")
            await self._ask(chat_id, "odd probe")
            await redis.delete("held:0000")
            await redis.hdel("backends", *(f"garbage-{n}" for n in range(len(GARBAGE))))

    async def fat(self) -> None:
        """A chat at its limit in bytes, with a picture, read by a hundred at once."""
        chat_id, at = self._new(), "2026-01-01T00:00:00Z"
        messages = [{"role": role, "content": FAT, "created_at": at} for role in ("user", "assistant")]
        line = json.dumps({"chat_id": chat_id, "messages": messages * FAT_TURNS}, ensure_ascii=False)

        async def quietly(method: str, path: str, body: bytes | None = None) -> None:
            async with self.rough.cluster.client() as client:
                with contextlib.suppress(httpx.HTTPError):
                    await client.http.request(method, f"/api/v1/{path}", content=body)

        await quietly("POST", "import", line.encode())
        await quietly("POST", f"chat/{chat_id}/files", png(weight=200_000))
        await asyncio.gather(*(quietly("GET", f"chat/{chat_id}") for _ in range(100)))
        await self._ask(chat_id, "odd probe")

    async def approvals(self) -> None:
        """Replies that wait for a person, who answers on any backend while one of these is killed."""
        chats = [self._new() for _ in range(5)]
        asking = [asyncio.create_task(self._ask(one, "ask me first", 40, agent="careful")) for one in chats]
        await asyncio.sleep(1)  # some wait by then
        n = self.chance.choice(list(self.rough.cluster.numbers))
        await self.rough.cluster.kill(n)
        for chat_id in chats:
            async with self.rough.cluster.client() as client:
                with contextlib.suppress(httpx.HTTPError, AssertionError):
                    for call in ((await client.chat_info(chat_id)).get("run") or {}).get("asked", []):
                        body = {"tool_use_id": call["tool_use_id"], "approve": True}
                        await client.http.post(f"/api/v1/chat/{chat_id}/approve", json=body)
        await self.rough.cluster.backends[n].start()
        await asyncio.gather(*asking)

    async def thoughts(self) -> None:
        await self._ask(self._new(), "flood of thoughts")

    async def tools(self) -> None:
        await self._ask(self._new(), "many tools")

    async def hang_ups(self) -> None:
        """Forty who hang up as soon as they have asked."""

        async def hang_up(chat_id: str) -> None:
            async with self.rough.cluster.client() as client:
                try:
                    async with client.chat(chat_id, "odd probe"):
                        return
                except httpx.HTTPError:
                    return

        await asyncio.gather(*(hang_up(self._new()) for _ in range(40)))

    async def full(self) -> None:
        """Redis is full for a while."""
        async with connect(self.rough.redis.url) as redis:
            await redis.config_set("maxmemory", "1mb")
            await asyncio.sleep(self.chance.uniform(1, 4))
            await redis.config_set("maxmemory", "0")

    async def read_only(self) -> None:
        """Redis is a replica for a while, as after a failover that went wrong."""
        async with connect(self.rough.redis.url) as redis:
            await command(redis, "REPLICAOF", "127.0.0.1", "1")
            await asyncio.sleep(self.chance.uniform(1, 4))
            await command(redis, "REPLICAOF", "NO", "ONE")


class Keeper:
    """Asks in place of the first question of a chat while something goes wrong: refused, nothing changed."""

    def __init__(self, rough: Rough) -> None:
        self.rough = rough
        self.violations: list[str] = []
        self.tried = self.refused = 0

    async def prepare(self) -> tuple[str, list[Any]] | None:
        """A chat of two turns, and what it says; None when even that is not possible now."""
        self.tried += 1
        chat_id = f"kept-{self.tried}"
        async with self.rough.cluster.client() as client:
            try:
                file = await sent(client, chat_id, png(weight=self.tried))
                named = [file["file_id"]]
                await client.ask(chat_id, "kept 1", run_id=f"{chat_id}-run-1", files=named)
                await client.ask(chat_id, "kept 2", run_id=f"{chat_id}-run-2")
                return chat_id, await client.messages(chat_id)
            except (httpx.HTTPError, TimeoutError, AssertionError, KeyError):
                return None

    async def try_it(self, chat_id: str) -> int:
        """The status of the answer, 0 for none."""
        body = {"message": "instead", "replaces": f"{chat_id}-run-1", "run_id": f"{chat_id}-run-3"}
        async with self.rough.cluster.client() as client:
            try:
                return (await client.http.post(f"/api/v1/chat/{chat_id}", json=body)).status_code
            except httpx.HTTPError:
                return 0

    async def look(self, chat_id: str, before: list[Any], status: int) -> None:
        """Refused: the same as before. Answered or cut: the same, or the new question in its place."""
        self.refused += status >= 400

        async def settled() -> bool:
            async with self.rough.cluster.client() as client:
                try:
                    found = await client.chat_info(chat_id)
                except (httpx.HTTPError, AssertionError):
                    return False
            same = found["messages"] == before
            instead = [m["content"] for m in found["messages"][:1]] == ["instead"]
            return found["status"] != "running" and (same or (status in {0, 200, 502, 504} and instead))

        try:
            await eventually(settled, within=40, every=0.2)
        except AssertionError:
            self.violations.append(f"{chat_id}: {status}, and what was there is not there any more")


class Watch:
    """Chats that run are held by a living process, or settled in time."""

    def __init__(self, rough: Rough) -> None:
        self.rough = rough
        self.violations: list[str] = []
        self._since: dict[str, float] = {}

    async def watch(self, until: float) -> None:
        while time.monotonic() < until:
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001  # Redis is being broken meanwhile
                if isinstance(error, AssertionError):
                    self.violations.append(str(error))
                self._since.clear()
            await asyncio.sleep(1)

    async def _look(self) -> None:
        async with connect(self.rough.redis.url) as redis:
            loose: dict[str, float] = {}
            async for key in redis.scan_iter("chat:{*}", count=1000):
                if not key.endswith("}") or await redis.type(key) != "hash":
                    continue
                described = await redis.hget(key, "run")
                if described and not await self._held(redis, json.loads(described)):
                    loose[key] = self._since.get(key, time.monotonic())
        self._since = loose
        late = [key for key, since in loose.items() if time.monotonic() - since > UNHELD_SECONDS]
        for key in late:
            del self._since[key]
            self.violations.append(f"{key} runs, and nobody who lives holds it")

    @staticmethod
    async def _held(redis: Any, run: dict[str, Any]) -> bool:
        alive = await redis.pttl(f"alive:{run['process']}") > 0
        held = f"held:{run['process']}"
        return alive and await redis.type(held) == "hash" and bool(await redis.hexists(held, run["attempt"]))

    async def running(self) -> list[str]:
        """The chats that say that something runs in them."""
        async with connect(self.rough.redis.url) as redis:
            keys = [key async for key in redis.scan_iter("chat:{*}", count=1000) if key.endswith("}")]
            hashes = [key for key in keys if await redis.type(key) == "hash"]
            return [key for key in hashes if await redis.hexists(key, "run")]
