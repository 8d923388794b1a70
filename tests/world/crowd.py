"""Many small requests without a pause, each on a connection of its own, and what is wrong in the answers.

Knows HTTP as bytes: no client in between repeats anything, or takes time that the server would need.
"""

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field

from tests.world.client import own_address

READ_SECONDS = 40
# no fault of who restarts: this machine was busy for more than a second
REDIS_IS_SLOW = (b'"code":"redis_unavailable"', b'"redis":"disconnected"')


@dataclass
class Crowd:
    """Asks at `port` until told to leave. `wrong` holds what no person should ever see."""

    port: int
    name: str = "crowd"
    answered: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    leaving: bool = False
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def live(self, people: int) -> None:
        """So many at once, until `leaving`."""
        await asyncio.gather(*(self._ask_on() for _ in range(people)))

    async def _ask_on(self) -> None:
        here = own_address()
        while not self.leaving:
            n = next(self._numbers)
            for kind, line, body, ending in self.requests(f"{self.name}-{n}"):
                try:
                    async with asyncio.timeout(READ_SECONDS):
                        answer = await self._answer(here, line, body)
                except (OSError, TimeoutError) as error:
                    self.wrong.append(f"{line}: {error!r}")
                    continue
                self.answered[kind] += 1
                if any(words in answer for words in REDIS_IS_SLOW):
                    self.answered["Redis was slow"] += 1
                    break
                if not (answer.split(b" ", 2)[1][:1] == b"2" and ending in answer):
                    self.wrong.append(f"{line}: {answer[:2000]!r}")

    def requests(self, chat_id: str) -> list[tuple[str, str, object, bytes]]:
        """Kind, first line, body, and what the whole answer must hold."""
        return [
            ("message", f"POST /api/v1/chat/{chat_id}", {"message": "hello"}, b"data: [DONE]"),
            ("replay", f"GET /api/v1/chat/{chat_id}/events", None, b"data: [DONE]"),
            ("older", "POST /chat", {"message": "hello", "conversation_id": chat_id}, b'"outcome":"done"'),
            ("chat", f"GET /api/v1/chat/{chat_id}", None, b'"message_count":4'),
            ("stop", f"POST /api/v1/stop/{chat_id}-none", {}, b'"accepted"'),
            ("health", "GET /health", None, b'"healthy"'),
            ("openai", "POST /v1/chat/completions",
             {"model": "general", "messages": [{"role": "user", "content": "hello"}]}, b'"chat.completion"'),
            ("delete", f"DELETE /api/v1/chat/{chat_id}", None, b'"deleted"'),
        ]  # fmt: skip

    async def _answer(self, here: str, line: str, body: object) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(here, 0))
        try:
            head = (
                f"{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json"
            )
            writer.write(f"{head}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
            answer = await reader.read()
        finally:
            writer.close()
        if not answer:
            raise ConnectionError("no answer")
        return answer
