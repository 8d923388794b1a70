"""The naive service: what one writes first. FastAPI, a Strands Agent with a stock OllamaModel per request, a
poll.

Owns the usual shape, not a caricature: nothing in it is slowed down on purpose. Run by uvicorn.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from redis.asyncio import Redis
from strands import Agent
from strands.models.ollama import OllamaModel

app = FastAPI()
redis = Redis.from_url(os.environ["REDIS_URL"])
POLL_SECONDS = 0.1


class Question(BaseModel):
    """The body of a chat."""

    message: str


async def poll(chat_id: str, stopped: asyncio.Event) -> None:
    """Looks for the stop key every 100 ms."""
    while not await redis.getdel(f"stop:{chat_id}"):  # noqa: ASYNC110  # the habit that is measured
        await asyncio.sleep(POLL_SECONDS)
    stopped.set()


async def reply(chat_id: str, message: str) -> AsyncIterator[str]:
    """The frames of one reply."""
    stopped = asyncio.Event()
    polling = asyncio.create_task(poll(chat_id, stopped))
    agent = Agent(model=OllamaModel(os.environ["OLLAMA_HOST"], model_id="stub"), callback_handler=None)
    try:
        async for event in agent.stream_async(message):
            if stopped.is_set():
                yield "data: [STOPPED]\n\n"
                return
            if event.get("data"):
                yield f"data: {event['data']}\n\n"
        yield "data: [DONE]\n\n"
    finally:
        polling.cancel()


@app.post("/api/v1/chat/{chat_id}")
async def chat(chat_id: str, question: Question) -> StreamingResponse:
    """Streams a reply."""
    return StreamingResponse(reply(chat_id, question.message), media_type="text/event-stream")


@app.post("/api/v1/stop/{chat_id}", status_code=202)
async def stop(chat_id: str) -> dict[str, str]:
    """Sets the stop key."""
    await redis.set(f"stop:{chat_id}", str(time.time()), ex=60)
    return {"chat_id": chat_id, "status": "accepted"}


@app.get("/health")
async def health() -> dict[str, str]:
    """Answers as soon as the process serves."""
    return {"status": "healthy"}
