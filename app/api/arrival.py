"""How a body comes in: each has a limit and a deadline, all together have a budget. Knows no routes."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from pydantic_core import from_json

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MOST = 256 * 1024
MOST_CONVERSATION = 4 * 1024 * 1024  # under /v1/ clients bring the whole conversation each time
MOST_ARCHIVE = 16 * 1024 * 1024  # a larger file goes in by parts: each of its lines stands alone
MOST_TEXT_FILE = 100 * 1024
SECONDS = 30.0  # for a whole body to arrive; Nginx only looks at the time between two pieces
MOST_REST = 16 * 1024 * 1024  # of a body that is refused: so much is let pass, and for so long
REST_SECONDS = 5.0
BUDGET = 64 * 1024 * 1024  # of all bodies on their way into this backend

_IMPORT = "/api/v1/import"
_FILES = re.compile(r"/api/v1/chat/[^/]+/files")


class Refused(Exception):
    """Why a request may not go on, as a status; `detail` where the status does not say it all;
    `last` when what comes behind it on this connection can no longer be told apart.
    """

    def __init__(self, status: int, detail: str | None = None, *, last: bool = False) -> None:
        super().__init__(status)
        self.status = status
        self.detail = detail
        self.last = last


class Gone(Exception):
    """The client has left before its body was here."""


def most_at(path: str, file_bytes: int) -> int:
    """The largest body this path takes, in bytes; `file_bytes` is what a picture may have."""
    if path.startswith("/v1/"):
        return MOST_CONVERSATION
    if path == _IMPORT:
        return MOST_ARCHIVE
    return max(file_bytes, MOST_TEXT_FILE) if is_file(path) else MOST


def is_file(path: str) -> bool:
    """Whether what is sent there is a file, as it is."""
    return _FILES.fullmatch(path) is not None


class Arrivals:
    """The bodies that are on their way into this backend."""

    def __init__(self, seconds: float = SECONDS, budget: int = BUDGET) -> None:
        self._seconds = seconds
        self._budget = budget
        self._bytes = 0

    async def body(
        self, receive: Receive, headers: dict[bytes, bytes], most: int, *, is_file: bool = False
    ) -> bytes:
        """The whole body; a file is none of ours to read. Raises `Refused`, or `Gone` when there is nobody
        left to answer.
        """
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > most:
            raise await _too_large(receive, most)
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read_body(receive, most)
        except TimeoutError:
            raise Refused(408) from None
        if _lost(body, declared, headers):
            raise Refused(422, "The body did not arrive: send it without the header Upgrade.", last=True)
        if not is_file and _is_json(headers.get(b"content-type", b"")) and not _well_formed(body):
            raise Refused(422)
        return body

    @contextlib.contextmanager
    def holding(self, path: str, size: int) -> Iterator[None]:
        """A file counts until it is stored: those that wait for Redis hold memory too."""
        length = size if path == _IMPORT or is_file(path) else 0
        self._bytes += length
        try:
            yield
        finally:
            self._bytes -= length

    async def _read_body(self, receive: Receive, most: int) -> bytes:
        pieces: list[bytes] = []
        length, more = 0, True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                pieces.append(message.get("body", b""))
                length += len(pieces[-1])
                self._bytes += len(pieces[-1])
                more = message.get("more_body", False)
                if length > most:
                    raise await _too_large(receive, most, more=more)
                if self._bytes > self._budget:
                    raise Refused(503)
        finally:
            self._bytes -= length
        return b"".join(pieces)


async def _too_large(receive: Receive, most: int, *, more: bool = True) -> Refused:
    """The refusal. Who is still sending reads no answer, so some of the rest is let pass before it."""
    passed = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REST_SECONDS):
            while more and passed < MOST_REST:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                passed, more = passed + len(message.get("body", b"")), message.get("more_body", False)
    return Refused(413, f"The body is over {most // 1024} KiB.", last=more)


def _lost(body: bytes, declared: bytes, headers: dict[bytes, bytes]) -> bool:
    """Uvicorn drops the body of a request that asks for another protocol, as Java's client does by itself."""
    if declared.isdigit():
        return len(body) != int(declared)
    return not body and b"transfer-encoding" in headers and b"upgrade" in headers


def _is_json(media_type: bytes) -> bool:
    """Whether the body calls itself one JSON value; JSON lines are many."""
    return b"json" in media_type and b"ndjson" not in media_type and b"jsonl" not in media_type


def _well_formed(body: bytes) -> bool:
    """Whether a body that calls itself JSON is: Python's reader would also take NaN, UTF-16 and
    lone surrogates.
    """
    if not body:
        return True
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError:
        return False
    return True
