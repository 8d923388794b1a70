"""The client for Bedrock: made when it is needed, and made anew when the credentials have changed.

A wrong set-up of AWS is so a failure of each message, told in a sentence, and never keeps the
service from coming up. Credentials come from the usual AWS chain and nowhere else.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from app.agents.failures import failure

CONNECT_SECONDS = 5
READ_SECONDS = 300  # silence is bounded earlier, by the deadlines of the run
OPEN_SECONDS = 10  # for credentials that come from elsewhere

logging.getLogger("aiobotocore.credentials").setLevel(logging.CRITICAL)  # what fails there is told by us


@dataclass(slots=True)
class _Client:
    """One client, and how many replies use it now. `seen`: the state of the files it was made from."""

    client: Any
    stack: AsyncExitStack
    seen: object
    users: int = 0
    stale: bool = False


def _files() -> tuple[str, ...]:
    """The files with credentials, wherever the AWS libraries look for them."""
    session = get_session()
    return tuple(str(session.get_config_variable(name)) for name in ("credentials_file", "config_file"))


@dataclass(slots=True)
class Aws:
    """Lends the client for Bedrock in a region. `most`: connections at the same time."""

    region: str
    most: int
    _now: _Client | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _files: tuple[str, ...] = field(default_factory=_files)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        """The client for one call. Raises what the AWS libraries say of a wrong set-up."""
        lent = await self._current()
        lent.users += 1
        try:
            yield lent.client
        finally:
            lent.users -= 1
            await _close_unused(lent)

    def forget(self) -> None:
        """Credentials were refused: the next call looks for them again."""
        if self._now:
            self._now.stale = True

    async def close(self) -> None:
        if self._now:
            await self._now.stack.aclose()

    async def _current(self) -> _Client:
        async with self._lock:
            seen = [_stamp(path) for path in self._files]
            old = self._now
            if old and not old.stale and old.seen == seen:
                return old
            self._now = None
            if old:
                old.stale = True
                await _close_unused(old)
            self._now = await self._made(seen)
            return self._now

    async def _made(self, seen: object) -> _Client:
        config = AioConfig(
            max_pool_connections=self.most,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 1},
            tcp_keepalive=True,
        )
        stack = AsyncExitStack()
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                made = get_session().create_client("bedrock-runtime", region_name=self.region, config=config)
                return _Client(await stack.enter_async_context(made), stack, seen)
        except TimeoutError as error:
            raise failure("credentials") from error
        except OSError as error:  # a file that is named and not there, or not ours to read
            raise failure("aws_files") from error


def _stamp(path: str) -> tuple[int, int] | None:
    """What changes when the file does."""
    try:
        found = Path(path).expanduser().stat()
    except (OSError, RuntimeError):
        return None
    return found.st_mtime_ns, found.st_size


async def _close_unused(one: _Client) -> None:
    if one.stale and not one.users:
        await one.stack.aclose()
