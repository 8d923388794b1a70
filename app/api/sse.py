"""The stream of a run as server-sent events, and as the plain text of the older API. The hot path
of the product.

A reader takes all events that are there in one turn of the loop and sends them as one piece; what
is slow is only ever the one reader. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from loguru import logger
from starlette.responses import Response

from app.api.access import Receive, Scope, Send
from app.clock import STREAM_HEARTBEAT_SECONDS, STREAM_STUCK_SECONDS
from app.events import End, Event, Text, encode, name
from app.runs.readers import Reading

Format = Literal["text", "json", "ag-ui"]
Frame = Callable[[str, int, Event], str]

# one line with a word behind the colon: a blank line behind it makes some clients dispatch an empty
# message
HELLO = b": hello\n"
HEARTBEAT = b": waiting\n"
AT_ONCE = 1000  # events made into frames in one go
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


def text_frame(run_id: str, number: int, event: Event) -> str:
    """`?format=text`: text and the terminal frame, nothing else has data lines."""
    if type(event) is Text:
        text = event.text.replace("\n", "\ndata: ") if "\n" in event.text else event.text
        return f"id: {run_id}:{number}\ndata: {text}\n\n"
    if type(event) is End:
        return f"id: {run_id}:{number}\ndata: {last_line(event)}\n\n"
    return ""


def json_frame(run_id: str, number: int, event: Event) -> str:
    """`?format=json`: named events with one line of JSON."""
    return f"id: {run_id}:{number}\nevent: {name(event)}\ndata: {encode(event)}\n\n"


def last_line(end: End) -> str:
    """The terminal frame of the text format."""
    if end.outcome == "failed":
        return f"[ERROR] {end.error.message if end.error else 'The reply failed.'}"
    return "[DONE]" if end.outcome == "done" else "[STOPPED]"


def plain_piece(_: str, __: int, event: Event) -> str:
    """The older API: text as it comes, and a last line when it was stopped or failed."""
    if type(event) is Text:
        return event.text
    return f"\n{last_line(event)}" if type(event) is End and event.outcome != "done" else ""


FRAMES: dict[Format, Frame] = {"text": text_frame, "json": json_frame}  # and ag-ui, see its door


class RunStream(Response):
    """Streams one reading to its end, or until the reader is gone.

    `hello` goes out before the model is asked, `heartbeat` when it is silent.
    """

    def __init__(
        self,
        reading: Reading,
        frame: Frame,
        media_type: str,
        headers: dict[str, str],
        *,
        hello: bytes = HELLO,
        heartbeat: bytes = HEARTBEAT,
    ) -> None:
        super().__init__(headers={**HEADERS, **headers, "Content-Type": media_type})
        del self.headers["content-length"]
        self._reading = reading
        self._frame = frame
        self._hello, self._heartbeat = hello, heartbeat

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """The writer is woken for every token, so it runs by itself, not under all that calls this."""
        self._send = send
        self._sent_at = asyncio.get_running_loop().time()
        self._sending = False
        try:
            async with asyncio.TaskGroup() as both:
                writer = both.create_task(self._write(), name="reader")
                await self._attend(receive)
                writer.cancel()
        finally:
            self._reading.close()

    async def _write(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if self._hello:
            await self._put(self._hello)
        await self._events()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> None:
        feed, sent = self._reading.feed, self._reading.after
        while True:
            await feed.beyond(sent)
            if feed.abandoned:
                return
            if feed.ended:  # a reader may have seen more than the log of a lost backend kept
                sent = min(sent, feed.shown - 1)
            first, sent = sent, min(feed.shown, sent + AT_ONCE)
            frame, run_id = self._frame, feed.run_id
            events = feed.events[first:sent]
            piece = "".join([frame(run_id, n, event) for n, event in enumerate(events, first + 1)])
            if piece:
                await self._put(piece.encode())
            if len(events) == AT_ONCE:
                await asyncio.sleep(0)  # a long replay is not sent in one breath
            if getattr(self._frame, "interrupted", False):
                self._reading.ends = None  # a person is asked: who leaves now is expected back
                return
            if type(feed.events[sent - 1]) is End:
                return

    async def _put(self, piece: bytes) -> None:
        self._sending = True
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._sending = False
        self._sent_at = asyncio.get_running_loop().time()

    async def _attend(self, receive: Receive) -> None:
        """Beside the writer: returns when all is sent, or the client leaves or takes nothing, and breaks
        the silence of a model.
        """
        time = asyncio.get_running_loop().time
        while not await _left(
            receive, max(self._sent_at, time() - STREAM_HEARTBEAT_SECONDS / 2) + STREAM_HEARTBEAT_SECONDS
        ):
            silence = time() - self._sent_at
            if self._sending and silence > STREAM_STUCK_SECONDS:
                logger.info("run_id=<{}> | a reader that takes nothing is cut", self._reading.feed.run_id)
                return
            if self._heartbeat and not self._sending and silence >= STREAM_HEARTBEAT_SECONDS:
                await self._put(self._heartbeat)


async def _left(receive: Receive, until: float) -> bool:
    """Whether the client leaves, or has the whole answer, before this time of the loop."""
    try:
        async with asyncio.timeout_at(until):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
