"""Whether what Redis has answered stands in its file too.

While it syncs its file (`appendfsync everysec`) it answers at once and writes later, within two seconds:
killed in that moment it would not know what somebody has read. Knows nothing of what was written.
"""

import asyncio
import time

from app.clock import WRITTEN_LOOK_SECONDS, WRITTEN_SECONDS
from app.store.keys import Chat
from app.store.wire.connection import Connection
from app.store.wire.script import Command, Script

# 1 while what came before it is not written; 0 also where Redis keeps no such file, or does not tell
SYNCING = Script(
    """
local told = redis.pcall('INFO', 'persistence')
if type(told) ~= 'string' or not string.find(told, 'aof_pending_bio_fsync:[1-9]') then return 0 end
return string.find(told, 'aof_buffer_length:0\\r', 1, true) and 0 or 1
""",
    keys="",
)


def syncing(chat: Chat) -> Command:
    """Answers 1 when what goes before it is not written yet, on the server that has this chat."""
    return SYNCING.over([chat.key])


async def written(redis: Connection, chat: Chat) -> None:
    """Returns when what this chat's server has answered is written. Raises `RedisUnavailable`."""
    give_up = time.monotonic() + WRITTEN_SECONDS
    while await redis.do(syncing(chat)):
        if time.monotonic() > give_up:
            return
        await asyncio.sleep(WRITTEN_LOOK_SECONDS)
