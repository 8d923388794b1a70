"""The limit: a bare raw-ASGI proxy from the model to the reader. No agent, no Redis, no memory, no stop.

Owns nothing but the cheapest honest way to turn Ollama's lines into SSE frames in Python; run by uvicorn.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MODEL_URL = os.environ["OLLAMA_HOST"] + "/api/chat"
_session: list[aiohttp.ClientSession] = []
_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """`POST /api/v1/chat/{id}` streams a reply; everything else is `ok`."""
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    if scope["method"] == "POST" and "/chat/" in scope["path"]:
        return await _chat(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
    return None


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    connector = aiohttp.TCPConnector(limit=0)
    _session.append(aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await _session.pop().close()
    await send({"type": "lifespan.shutdown.complete"})


async def _chat(receive: Receive, send: Send) -> None:
    message = json.loads((await receive())["body"])["message"]
    asked = {"model": "stub", "messages": [{"role": "user", "content": message}], "stream": True}
    async with _session[0].post(_MODEL_URL, json=asked) as answer:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        rest = b""
        async for data in answer.content.iter_any():
            *lines, rest = (rest + data).split(b"\n")
            if frames := "".join(map(_frame, lines)):
                await send({"type": "http.response.body", "body": frames.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def _frame(line: bytes) -> str:
    text = json.loads(line)["message"]["content"]
    return f"data: {text}\n\n" if text else ""
