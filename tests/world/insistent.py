"""Somebody who asks again until there is an answer, as a client does whose server is in trouble."""

import asyncio
import time
from typing import Any

import httpx

from tests.world.client import Client, Stream
from tests.world.thread import Live

PATIENCE_SECONDS = 60.0
AGAIN = {429, 502, 503, 504}


class Insistent:
    """A client, and how often it had to ask again."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.retries = 0

    async def post(self, chat_id: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], Stream | None]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            url = f"/api/v1/chat/{chat_id}?format=json"
            request = self.client.http.build_request("POST", url, json=body)
            try:
                async with self.client._stream(request, "json") as stream:  # its own bodies
                    if stream.status == 200:
                        while not stream.text.endswith("half ") and await stream.next():
                            pass
                        return 200, {}, stream
                    await stream.response.aread()
                    if stream.status not in AGAIN or time.monotonic() > deadline:
                        return stream.status, stream.response.json(), None
            except (httpx.HTTPError, TimeoutError):
                assert time.monotonic() < deadline
            self.retries += 1
            await asyncio.sleep(0.05)

    async def ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        """The answer, once it is one."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = await self.client.http.request(method, url, **more)
                if answer.status_code not in AGAIN or time.monotonic() > deadline:
                    return answer
            except httpx.HTTPError:
                assert time.monotonic() < deadline
            self.retries += 1
            await asyncio.sleep(0.05)

    async def ask_to_stop(self, chat_id: str, body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The answer, and whether it had to be asked for again."""
        url, before = f"/api/v1/stop/{chat_id}?wait=5000", self.retries
        answer = await self.ask("POST", url, json=body)
        assert answer.status_code == 202, answer.text
        return answer.json(), self.retries > before

    async def info(self, chat_id: str) -> dict[str, Any]:
        answer = await self.ask("GET", f"/api/v1/chat/{chat_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def catch_up(self, chat_id: str, live: Live) -> None:
        while not live.frames:
            try:
                async with self.client.attach(chat_id) as stream:
                    if stream.status == 200:
                        await stream.until(lambda s: s.text.endswith("half "))
                        live.frames = frames(stream)
            except (httpx.HTTPError, TimeoutError):
                self.retries += 1


def frames(stream: Stream) -> list[tuple[int, str]]:
    return [(frame.number, frame.json["text"]) for frame in stream.frames if frame.event == "text"]
