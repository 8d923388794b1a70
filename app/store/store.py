"""Everything in Redis, opened together: chats, event logs, stop keys, leases, bells."""

import re
import uuid

from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError

from app.settings import Settings
from app.store import (
    approvals,
    archive,
    branches,
    eventlog,
    files,
    queue,
    queues,
    scripts,
    shelf,
    stops,
    titles,
    weights,
    written,
)
from app.store.approvals import Approvals
from app.store.archive import Archive
from app.store.bells import Bells
from app.store.branches import Branches
from app.store.eventlog import EventLog
from app.store.files import Files
from app.store.find import Finder
from app.store.keys import minute_key
from app.store.leases import Leases
from app.store.memory import Memory
from app.store.queues import Queues
from app.store.responses import Responses
from app.store.shelf import Shelf
from app.store.stops import Stops
from app.store.weights import Weights
from app.store.wire.connection import Connection
from app.store.wire.script import Script, command

_SCRIPTS = [
    one
    for part in (
        scripts,
        branches,
        eventlog,
        shelf,
        stops,
        queue,
        queues,
        titles,
        files,
        weights,
        archive,
        approvals,
        written,
    )
    for one in vars(part).values()
    if isinstance(one, Script)
]


class Store:
    """Opened once per process by `async with`. Every method raises `RedisUnavailable`."""

    def __init__(self, settings: Settings) -> None:
        self.backend_id = settings.backend_id
        self.redis = Connection(settings, _SCRIPTS)
        self.leases = Leases(self.redis, process=uuid.uuid4().hex)
        self.bells = Bells(self.redis, self.leases.process)
        self.responses = Responses(self.redis, settings)
        self.memory = Memory(self.redis, self.bells, settings)
        held = Weights(self.redis, settings)
        self.files = Files(self.redis, held, self.memory.life)
        self.shelf = Shelf(self.redis, held, settings, self.memory.life)
        self.branches = Branches(self.redis, settings, self.memory.life)
        self.log = EventLog(self.redis)
        self.queues = Queues(self.redis, settings, self.memory.life)
        self.archive = Archive(self.redis, settings)
        self.finder = Finder(self.redis)
        self.approvals = Approvals(self.redis, self.bells)
        self.stops = Stops(self.redis, self.bells, settings, self.memory.life)

    async def __aenter__(self) -> "Store":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.redis.__aexit__()

    async def trouble(self) -> str | None:
        """What keeps Redis from taking writes, or from keeping them; None when all is well."""
        written, memory = await self.redis.do_all(
            [self.leases.renewal(), command("INFO", "memory")], check=False
        )
        match written:
            case OutOfMemoryError():
                return "full"
            case ReadOnlyError():
                return "read-only"
            case RedisError():
                return "refusing"
        evicts = isinstance(memory, bytes) and re.search(rb"maxmemory_policy:(?!noeviction)", memory)
        return "evicting" if evicts else None

    async def count_in_minute(self, who: str, minute: int) -> int:
        """Counts one more message of this asker in this minute; how many that makes."""
        key = minute_key(who, minute)
        count, _ = await self.redis.do_all([command("INCR", key), command("EXPIRE", key, 120)])
        return int(count)
