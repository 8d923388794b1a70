"""One backend: what it holds, how it opens, drains and closes. The only file that puts the parts together."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from loguru import logger

from app import __version__
from app.agents.answer import Answerer
from app.chat.approval import Approving
from app.chat.handed import Handing
from app.chat.line import Line
from app.chat.send import Chats
from app.chat.settle import Settler
from app.chat.stop import Stopping
from app.chat.turn import Turns
from app.clock import ENDING_SECONDS, HEARTBEAT_SECONDS
from app.errors import RedisUnavailable
from app.events import Failure, iso
from app.runs.held import Runs
from app.runs.logwriter import LogWriter
from app.runs.metrics import Metrics
from app.runs.readers import Readers
from app.runs.watcher import Watcher
from app.settings import Settings
from app.store.commands import release
from app.store.store import Store

# a full collection stops 100 streams for 20 ms: so a tenth as often, and when nothing runs
COLLECTIONS = (700, 10, 100)
CUT = Failure("draining", "The server is restarting. What was written is kept; ask again to go on.")


class Backend:
    """What the routes reach.

    Raises `ValueError` with one line when an agent file or its folder cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.answerer = Answerer(settings)
        self.store = Store(settings)
        self._writer = LogWriter(self.store)
        self.metrics = Metrics(settings)
        self.runs = Runs(settings, self._writer, self.metrics)
        self._watcher = Watcher(self.store, self.runs)
        self.readers = Readers(self.store, self.runs)
        self._settler = Settler(self.store, self.metrics)
        self.readers.followers.on_lost = self._settler.settle
        self.stopping = Stopping(self.store, self._settler, self.metrics)
        self.line = Line(self.store, settings)
        self.approving = Approving(self.store, settings, self.line)
        handing = Handing(self.store)
        turns = Turns(self.store, self.runs, self.answerer, self._settler, self.line, self.approving, handing)
        self.chats = Chats(turns, self.readers, self.stopping)
        self._dead: asyncio.Queue[str] = asyncio.Queue(maxsize=1000)
        self._show_figures()
        self._started_at = iso(int(time.time() * 1000))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Opens the connections, runs the tasks, and closes in the opposite order."""
        async with self.store, self.answerer:
            works: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
                "heartbeats": self._heartbeats,
                "settler": self._settle,
                "bells": self.store.bells.listen,
                "watcher": self._watcher.watch,
                "log writer": self._writer.write,
            }
            tasks = [asyncio.create_task(_for_ever(work), name=name) for name, work in works.items()]
            _say_ready(self.settings)
            gc.collect()
            gc.freeze()  # else each full collection walks what start-up left: 0.1 s for every stream
            gc.set_threshold(*COLLECTIONS)
            yield
            await self.chats.close(ENDING_SECONDS)
            await self.readers.close()
            await self.stopping.close()
            await _end_tasks(tasks)
            await self._leave()

    def turn_away(self) -> None:
        """Takes nothing new from now on."""
        self.runs.draining = True

    async def drain(self, grace: float) -> None:
        """Lets runs end for so many seconds, here and where they are read from here, then cuts and
        sends away the rest.
        """
        self.turn_away()
        try:
            async with asyncio.timeout(grace):
                await self.runs.empty.wait()
                await self.readers.none_away.wait()
        except TimeoutError:
            for run in self.runs:
                run.cut(CUT)
        self.readers.send_away()

    async def _heartbeats(self) -> None:
        """Renews the lease of this process, and notes those that have died."""
        while True:
            began = time.monotonic()
            try:
                for process in await self.store.leases.beat(self._about()):
                    with contextlib.suppress(asyncio.QueueFull):  # they are missing in two seconds as well
                        self._dead.put_nowait(process)
                await self._list_again()
                await self.line.renew()
                await self.chats.next.advance_all()
                if (
                    not self.runs and gc.get_count()[2]
                ):  # nobody waits, and there has been work since the last time
                    gc.collect()
            except RedisUnavailable as error:
                logger.warning("error=<{}> | heartbeat failed", error.detail)
            await asyncio.sleep(max(0, HEARTBEAT_SECONDS - (time.monotonic() - began)))

    async def _list_again(self) -> None:
        """Lists our runs anew where our list was lost; else nobody would settle them after our death."""
        runs = [run for run in self.runs if not run.is_over]
        if await self.store.leases.hold_all([(run.chat, run.live) for run in runs]):
            for run in runs:
                if run.is_over:  # its ending has let go of it, maybe before it was listed again
                    await self.store.redis.do(release(run.live))

    async def _settle(self) -> None:
        """Settles the runs of processes that have died; a slow log holds up no heartbeat."""
        while True:
            process = await self._dead.get()
            try:
                await self._settler.settle_process(process)
            except RedisUnavailable as error:
                logger.warning("error=<{}> | not settled yet", error.detail)

    def _show_figures(self) -> None:
        self.store.redis.on_call = self.metrics.count_call
        bells = self.store.bells
        self.metrics.show("chat_runs_live", "Runs that are made here", lambda: len(self.runs))
        self.metrics.show("chat_readers", "Readers of streams here", self.readers.reading_here)
        self.metrics.show(
            "chat_queue_waiting",
            "Runs here that wait for a busy model",
            lambda: sum(run.reply.waits for run in self.runs),
        )
        self.metrics.show(
            "chat_stop_listener", "1 while stops wake this backend, 0 while it polls", lambda: bells.listening
        )

    def _about(self) -> dict[str, Any]:
        """What the others may know of this backend."""
        return {
            "backend": self.settings.backend_id,
            "version": __version__,
            "started_at": self._started_at,
            "active_runs": len(self.runs),
            **self.answerer.about(),
            "stop_listener": "listening" if self.store.bells.listening else "polling",
        }

    async def _leave(self) -> None:
        leases = self.store.leases
        try:
            if not await leases.held(leases.process):
                await leases.forget(leases.process)
        except RedisUnavailable:
            logger.warning("the others will notice that this backend is gone")


async def _for_ever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """None of these tasks may end in silence: whatever happens is logged, and it begins again."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001  # the root of a task
            logger.exception("a task failed and begins again")
        await asyncio.sleep(1)


async def _end_tasks(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels until they are done: a cancel that lands inside a Redis command can be swallowed."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.5)


def _say_ready(settings: Settings) -> None:
    logger.info(
        "backend=<{}>, provider=<{}>, model=<{}>, environment=<{}> | ready",
        *(settings.backend_id, settings.provider, settings.model_id, settings.environment),
    )
    if not settings.keys:
        logger.warning("API_KEYS is not set: everybody who reaches this server shares all chats")
