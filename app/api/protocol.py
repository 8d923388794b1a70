"""How bytes become requests: uvicorn's own protocol with the limits it lacks. Knows no routes.

Uvicorn counts no header bytes, waits for a header as long as it takes, and refuses in plain text.
Behind Nginx none of this happens; without a proxy this is the first line.
"""

import uuid
from asyncio import TimerHandle, Transport

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.problems import plain
from app.logs import request_id

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
CONNECTIONS = 8192
FRESH_SECONDS = 1.0  # a connection whose request is on its way is not closed when we leave


class TooLarge(ValueError):
    """A header that is not read any further."""


class Limited(HttpToolsProtocol):
    """Refuses headers that are too large, too slow or malformed, and more connections than fit."""

    _seen = 0  # bytes since the header began, in whole pieces
    _kept = 0  # bytes of it that are kept
    _between = True  # no body is on its way
    _leaving = False
    _late: TimerHandle | None = None  # runs while a header, or what nobody wants, is on its way

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > CONNECTIONS:
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if self._late is None and self.timeout_keep_alive_task is None and answered:
            self._await_head()  # or the rest of a body that has been refused
        if self._late is not None and self._between:
            self._seen += len(data)
            if self._seen > HEAD_BYTES:
                self._refuse(431)

    def on_url(self, url: bytes) -> None:
        self._keep(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._keep(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._settle()
        self._kept = 0  # the next request of this connection has headers of its own
        self._between = False
        super().on_headers_complete()
        if self._leaving and self.cycle:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._settle()
        self._between = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words for it
        self._refuse(431 if self._kept > HEAD_BYTES else 400)

    def shutdown(self) -> None:
        """What has begun is answered; what has connected only just now may begin."""
        self._leaving = True
        if self.cycle is None and not self.transport.is_closing():
            self._settle()
            self._late = self.loop.call_later(FRESH_SECONDS, self._too_late)
        else:
            super().shutdown()

    def _await_head(self) -> None:
        self._seen = self._kept = 0
        self._late = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _settle(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _keep(self, more: int) -> None:
        self._kept += more
        if self._kept > HEAD_BYTES:
            raise TooLarge

    def _too_late(self) -> None:
        self._late = None
        if self._seen:
            self._refuse(408)
        else:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        self._settle()
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + _problem(status))
            self.transport.close()


def _problem(status: int) -> bytes:
    request_id.set(uuid.uuid4().hex)
    answer = plain(status)
    own = [
        (b"x-request-id", request_id.get().encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    head = b"".join(name + b": " + value + b"\r\n" for name, value in [*answer.raw_headers, *own])
    return head + b"\r\n" + bytes(answer.body)
