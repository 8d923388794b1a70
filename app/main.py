"""Builds the application: settings, connections, tasks, routes. The only file that knows everyone."""

import asyncio
import gc
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from loguru import logger

from app import __version__
from app.agents.answer import Answerer
from app.api import chats, health, older, pages, problems, stops
from app.api.access import App, Door, Keys
from app.chat.endings import Endings
from app.chat.send import Chats, Parts
from app.chat.settle import Settler
from app.chat.stop import Stopping
from app.chat.turn import Turns
from app.errors import RedisUnavailable
from app.runs.follow import Followers
from app.runs.held import Runs
from app.runs.logwriter import LogWriter
from app.runs.readers import Readers
from app.runs.watcher import Watcher
from app.settings import Settings
from app.store import eventlog, memory
from app.store import stops as stop_keys
from app.store.bells import Bells
from app.store.leases import HEARTBEAT_SECONDS, Leases
from app.store.wire.connection import Connection
from app.times import iso

COLLECTIONS = (
    700,
    10,
    100,
)  # a full one stops 100 streams for 20 ms: so a tenth as often, and when nothing runs
ENDING_SECONDS = 4.0  # for the endings of runs that were cut at the end of the grace


def build(settings: Settings) -> tuple[FastAPI, App]:
    """The application with its routes, and the same behind the door that every request passes.

    Raises `ValueError` with one line when an agent file or its folder cannot be used.
    """
    answerer = Answerer(settings)
    app = FastAPI(
        title="FastAPI Agent Chat",
        version=__version__,
        summary="Chat with agents; stop them the moment you say so, on any backend.",
        lifespan=lambda app: lifespan(app, settings, answerer),
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.keys = Keys(settings.keys)
    problems.install(app)
    for part in (chats, stops, older, health):
        for route in part.router.routes:
            if isinstance(route, APIRoute):
                route.summary = (route.endpoint.__doc__ or "").split("\n")[0]
        app.include_router(part.router)
    pages.install(app)
    inner: Any = app
    if settings.origins:
        inner = CORSMiddleware(
            app,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-Request-ID"],
            expose_headers=[
                "X-Run-Id",
                "X-Chat-Id",
                "X-Backend",
                "X-Request-ID",
                "X-Conversation-Id",
                "Retry-After",
            ],
        )
    return app, Door(inner, settings)


@asynccontextmanager
async def lifespan(app: FastAPI, settings: Settings, answerer: Answerer) -> AsyncIterator[None]:
    """Opens everything, runs the tasks, and closes in the opposite order."""
    process = uuid.uuid4().hex
    scripts = (*memory.SCRIPTS, *eventlog.SCRIPTS, *stop_keys.SCRIPTS)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Connection(settings, scripts))
        await stack.enter_async_context(answerer)
        chat_memory = memory.Memory(redis, settings)
        log = eventlog.EventLog(redis, int(settings.run_timeout_seconds) + settings.replay_ttl_seconds)
        keys = stop_keys.Stops(redis, settings)
        leases = Leases(redis, process)
        runs = Runs(settings.max_runs)
        endings = Endings(chat_memory)
        writer = LogWriter(redis, log)
        watcher = Watcher(runs, keys, log, endings.rung, settings)
        bells = Bells(redis, process, watcher.ring, watcher.missed)
        settler = Settler(redis, chat_memory, log, leases)
        stopping = Stopping(keys, endings, settler, leases, settings.backend_id)
        followers = Followers(log, chat_memory)
        readers = Readers(runs, chat_memory, log, followers, watcher.started)
        turns = Turns(redis, chat_memory, keys, leases, runs, answerer, settings.memory_max_turns)
        parts = Parts(
            settings,
            redis,
            chat_memory,
            log,
            keys,
            leases,
            runs,
            writer,
            watcher,
            readers,
            settler,
            stopping,
            turns,
        )
        app.state.redis, app.state.memory, app.state.stops, app.state.leases = (
            redis,
            chat_memory,
            keys,
            leases,
        )
        app.state.runs, app.state.bells, app.state.stopping, app.state.answerer = (
            runs,
            bells,
            stopping,
            answerer,
        )
        app.state.chats = chat = Chats(parts)
        app.state.readers = readers
        about = {
            "backend": settings.backend_id,
            "version": __version__,
            "started_at": iso(int(time.time() * 1000)),
        }
        tasks = [
            asyncio.create_task(_for_ever(work), name=name)
            for name, work in {
                "heartbeats": lambda: _heartbeats(leases, settler, about, runs, bells),
                "bells": bells.listen,
                "watcher": watcher.watch,
                "log writer": writer.write,
            }.items()
        ]
        _say(settings)
        gc.collect()
        gc.freeze()  # else each full collection walks what start-up left, and stops every stream for 0.1 s
        gc.set_threshold(*COLLECTIONS)
        yield
        await chat.close(ENDING_SECONDS)
        await followers.close()
        await stopping.close()
        await _end(tasks)
        await _leave(leases)


async def _for_ever(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """None of these tasks may end in silence: whatever happens is logged, and it begins again."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001  # the root of a task
            logger.exception("a task failed and begins again")
        await asyncio.sleep(1)


async def _heartbeats(
    leases: Leases, settler: Settler, about: dict[str, Any], runs: Runs, bells: Bells
) -> None:
    """Renews the lease of this process, and settles the runs of those that have died."""
    while True:
        began = time.monotonic()
        try:
            now = {"active_runs": len(runs), "stop_listener": "listening" if bells.listening else "polling"}
            for process in await leases.beat(about | now):
                await settler.settle_process(process)
            if not runs and gc.get_count()[2]:  # nobody waits, and there has been work since the last time
                gc.collect()
        except RedisUnavailable as error:
            logger.warning("error=<{}> | heartbeat failed", error.detail)
        await asyncio.sleep(max(0, HEARTBEAT_SECONDS - (time.monotonic() - began)))


async def _leave(leases: Leases) -> None:
    try:
        if not await leases.held(leases.process):
            await leases.forget(leases.process)
    except RedisUnavailable:
        logger.warning("the others will notice that this backend is gone")


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels until they are done: a cancel that lands inside a Redis command can be swallowed."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.5)


def _say(settings: Settings) -> None:
    logger.info(
        "backend=<{}>, provider=<{}>, model=<{}>, environment=<{}> | ready",
        *(settings.backend_id, settings.provider, settings.model_id, settings.environment),
    )
    if not settings.keys:
        logger.warning("API_KEYS is not set: everybody who reaches this server shares all chats")
