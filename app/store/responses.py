"""How runs were asked for at OpenAI's responses: their chat, and what the answer repeats. Knows no HTTP."""

import json
from typing import Any

from app.settings import Settings
from app.store.keys import response
from app.store.wire.connection import Connection
from app.store.wire.script import command


class Responses:
    """Records by owner and run id, as long as chats live. Every method raises `RedisUnavailable`."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._redis = connection
        life = settings.memory_ttl_min * 60 if settings.enable_memory else settings.replay_ttl_seconds
        self._lives: tuple[Any, ...] = ("EX", life) if life else ()

    async def note(self, owner: str, run_id: str, record: dict[str, Any]) -> None:
        """Keeps how this run was asked for."""
        await self._redis.do(command("SET", response(owner, run_id), json.dumps(record), *self._lives))

    async def noted(self, owner: str, run_id: str) -> dict[str, Any] | None:
        """What was kept of this run, which lives anew; None where there is nothing."""
        kept = await self._redis.do(command("GETEX", response(owner, run_id), *self._lives))
        return dict(json.loads(kept)) if kept else None

    async def drop(self, owner: str, run_id: str) -> None:
        """The run cannot be found by its id alone any more."""
        await self._redis.do(command("DEL", response(owner, run_id)))
