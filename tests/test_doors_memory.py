"""A conversation that a client brings is not kept by the request that brought it, however long the answer."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from app.api.access import Door
from app.api.doors import Lean
from app.api.whole import Whole
from app.events import End, Usage
from app.runs.feed import Feed
from app.runs.readers import Reading
from app.settings import Settings

LARGE = 3 * 1024 * 1024
HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/json")]
Message = MutableMapping[str, Any]


class Body(BaseModel):
    words: str


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("fat", [False, True])
async def test_the_body_of_a_request_is_gone_while_its_answer_is_made(*, fat: bool, whole: bool) -> None:
    """`fat` is FastAPI's own route: it shows that the test sees what is kept."""
    held: list[int] = []
    router = APIRouter(prefix="/v1") if fat else APIRouter(prefix="/v1", route_class=Lean)

    def measure() -> bytes:
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        return b"."

    @router.post("/ask")
    async def ask(body: Body) -> Response:
        assert len(body.words) == LARGE
        return Whole(over(), lambda _: Response(measure())) if whole else StreamingResponse(pieces())

    async def pieces() -> AsyncIterator[bytes]:
        yield measure()

    def over() -> Reading:
        feed = Feed("chat", "run-12345678")
        feed.add(End("done", "end_turn", Usage(1, 1, True), 1))
        return Reading(feed)

    app = FastAPI()
    app.include_router(router)
    door = Door(app, Settings.model_validate({}), leaving=lambda: False)
    tracemalloc.start()
    try:
        await _ask(door)
    finally:
        tracemalloc.stop()
    assert (held[0] > LARGE) is fat, held


async def _ask(door: Callable[..., Awaitable[None]]) -> None:
    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": "/v1/ask", "raw_path": b"/v1/ask", "query_string": b"",
        "root_path": "", "scheme": "http", "http_version": "1.1", "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1), "headers": HEADERS,
    }  # fmt: skip
    arrived = [
        {"type": "http.request", "body": json.dumps({"words": "x" * LARGE}).encode(), "more_body": False}
    ]

    async def receive() -> Message:
        if arrived:
            return arrived.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200, message

    await door(scope, receive, send)
