"""HTTP/1.1 from callers nobody vouches for: a request's head ends in time, and is not endless."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_TIMEOUT_S = 10.0
MOST_HEAD_BYTES = 32_768


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound on the bytes of a head, and on the time until it is whole.

    Without them a connection that sends a byte a second holds memory for as long as it likes.
    Requests that say their length twice or in two ways (RFC 9112, section 6.3) are refused: what
    stands in front may have seen another request in them.
    """

    _timer: asyncio.TimerHandle | None = None
    """Runs while a head is awaited."""
    _awaited_bytes = 0
    _field_bytes = 0
    _lengths = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._end_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, and count those of a head that does not end."""
        super().data_received(data)
        if self._timer is not None:
            self._awaited_bytes += len(data)
            if self._awaited_bytes > MOST_HEAD_BYTES:
                self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of this head."""
        super().on_message_begin()
        self._lengths = self._field_bytes = 0
        if self._timer is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; an error here is answered with 400, and the connection closed."""
        super().on_header(name, value)
        self._field_bytes += len(name) + len(value)
        self._lengths += name.lower() in (b"content-length", b"transfer-encoding")
        if self._lengths > 1 or self._field_bytes > MOST_HEAD_BYTES:
            raise ValueError("The head of the request cannot be trusted.")

    def on_headers_complete(self) -> None:
        """Let the request begin."""
        self._end_waiting()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._awaited_bytes = 0
        self._timer = self.loop.call_later(
            HEAD_TIMEOUT_S, self._hang_up, HTTPStatus.REQUEST_TIMEOUT
        )

    def _end_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self, status: HTTPStatus) -> None:
        self._end_waiting()
        if not self.transport.is_closing():
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            rest = "connection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write((head + rest).encode())
            self.transport.close()
