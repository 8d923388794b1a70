"""The bells: pub/sub messages that only wake. What they tell can also be read in Redis, so a lost
one costs one poll.

One connection per process listens; when it breaks or goes silent it is made anew, and every run
held is checked. Their texts are written and read here: `stop <name> <value of the stop key>`,
followed by the number of the last event seen where it is known, `turn <attempt>`, `ended
<attempt>` and `answered <name>`.
"""

import asyncio
import math
import time
from collections.abc import Callable

from loguru import logger
from redis.asyncio.client import PubSub

from app.clock import BELL_RETRY_SECONDS, PING_SECONDS, SILENT_SECONDS
from app.store.keys import Chat
from app.store.records import LiveRun
from app.store.wire.connection import TROUBLE, Connection
from app.store.wire.script import Command, command


class Bells:
    """Calls `on_stop(name, value)`, `on_end(attempt)`, and `on_gap()` after each time some may have
    been lost.
    """

    def __init__(self, connection: Connection, process: str) -> None:
        self._connection = connection
        self._process = process
        self._heard = -math.inf
        self._retry = BELL_RETRY_SECONDS[0]
        self.on_stop: Callable[[str, str], None] = lambda *_: None
        self.on_turn: Callable[[str], None] = lambda *_: None
        self.on_end: Callable[[str], None] = lambda *_: None
        self.on_answer: Callable[[str], None] = lambda *_: None
        self.on_gap: Callable[[], None] = lambda: None

    @property
    def listening(self) -> bool:
        """Whether the link has shown a sign of life lately."""
        return time.monotonic() - self._heard < SILENT_SECONDS

    def stop_bell(self, chat: Chat, value: str) -> Command:
        """Describes the bell of a stop, to every process."""
        return command("PUBLISH", self._channel(None), f"stop {chat.name} {value}")

    def stop_bell_of_run(self, chat: Chat) -> tuple[str, str]:
        """How channel and text of the bell of a stop begin; the script LOOK rings it for one process (a
        stop need not wake them all), with a run and maybe a number behind it.
        """
        return self._channel(""), f"stop {chat.name} "

    def turn_bell(self, attempt: str, process: str) -> Command:
        """Describes the bell that calls a run to its turn at the model."""
        return command("PUBLISH", self._channel(process), f"turn {attempt}")

    def end_bell(self, run: LiveRun) -> tuple[str, str]:
        """Channel and text of the bell that tells all that a run has ended; the script END rings it."""
        return self._channel(None), f"ended {run.attempt}"

    def answer_bell(self, chat: Chat) -> tuple[str, str]:
        """Channel and text of the bell that tells that a person has answered in this chat."""
        return self._channel(None), f"answered {chat.name}"

    async def listen(self) -> None:
        """Listens until it is cancelled, whatever happens to the link."""
        while True:
            try:
                async with self._connection.bells.pubsub() as link:
                    await self._hear(link)
            except TROUBLE as error:
                logger.warning(
                    "wait=<{:.1f}>, error=<{}> | wake-up link lost", self._retry, type(error).__name__
                )
            self._heard = -math.inf
            await asyncio.sleep(self._retry)
            self._retry = min(self._retry * 2, BELL_RETRY_SECONDS[1])

    async def _hear(self, link: PubSub) -> None:
        mine = self._channel(self._process)
        await link.subscribe(self._channel(None), mine)
        heard = time.monotonic()
        while True:
            message = await link.get_message(timeout=PING_SECONDS)
            if message is None:
                if time.monotonic() - heard > SILENT_SECONDS:
                    raise TimeoutError
                await link.ping()
                continue
            self._heard = heard = time.monotonic()
            match message["type"]:
                case "subscribe" if message["channel"].decode() == mine:
                    self._retry = BELL_RETRY_SECONDS[0]
                    logger.info("wake-up link ready")
                    self.on_gap()
                case "message":
                    self._rung(message["data"].decode("utf-8", "replace"))

    def _rung(self, text: str) -> None:
        match text.split(" ", 2):
            case ["stop", name, value]:
                self.on_stop(name, value)
            case ["turn", attempt]:
                self.on_turn(attempt)
            case ["ended", attempt]:
                self.on_end(attempt)
            case ["answered", name]:
                self.on_answer(name)

    def _channel(self, process: str | None) -> str:
        return self._connection.channel("bells" if process is None else f"bells:{process}")
