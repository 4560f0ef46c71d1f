"""HTTP/1.1 from callers nobody vouches for: every wait for them ends, and nothing is endless."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from descant.gateway.answers import Send, send_error
from descant.gateway.config import ServerConfig
from descant.schema.errors import InputError, TooManyConnections

_FIELD_BYTES = 32
"""What a header takes in memory beside its bytes."""
_ONCE = frozenset({b"content-length", b"transfer-encoding", b"host"})
_BUSY_WAIT_S = 1.0


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on connections, heads, and the time a caller takes for anything.

    Without them a connection that sends or reads a byte a second holds memory for as long as it
    likes. Requests that say their length twice or in two ways (RFC 9112, section 6.3) are refused:
    what stands in front may have seen another request in them. The bounds are those in force when
    a connection is opened; the app puts them into the state of its lifespan.
    """

    _bounds: ServerConfig
    _stage: Literal["idle", "head", "body"] = "idle"
    """Of what is being received."""
    _running: RequestResponseCycle | None = None
    """The request that is being answered; others may wait behind it."""
    _head_timer: asyncio.TimerHandle | None = None
    """Runs while a head is awaited."""
    _unread_timer: asyncio.TimerHandle | None = None
    """Runs while the caller reads too little of what is written."""
    _awaited_bytes = 0
    _head_bytes = 0
    _may_keep = False
    _is_stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a first head."""
        super().connection_made(transport)
        bounds_in_force: Callable[[], ServerConfig] = self.app_state["bounds"]
        self._bounds = bounds_in_force()
        most = self._bounds.max_connections
        if len(self.connections) > most + most // 4 + 1:
            transport.abort()
        elif len(self.connections) > most:
            self.app = _turn_away
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more, and tell the request that is being answered."""
        self._end_waiting()
        self._end_unread()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            # uvicorn tells the request that came last; with several on the way that is another.
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, and count those of a head that does not end."""
        if self._stage == "idle" and self._head_timer is None:
            # Even an empty line ends the wait for a next request.
            self._await_head()
        super().data_received(data)
        if self._head_timer is not None:
            self._awaited_bytes += len(data)
            if self._awaited_bytes > self._bounds.max_header_bytes:
                self._hang_up(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of this head."""
        super().on_message_begin()
        self._stage = "head"
        self._head_bytes = 0
        if self._head_timer is None:
            self._await_head()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; an error here is answered with 400, and the connection closed."""
        self._count_head(len(name) + len(value) + _FIELD_BYTES)
        if self._stage == "body":
            # A trailer: what stands in front has not seen it as a header, so it is none.
            return
        name = name.lower()
        if name in _ONCE and any(name == known for known, _ in self.headers):
            raise ValueError("A header that may stand once stands twice.")
        if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise ValueError("No other transfer encoding is known.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the request begin; the connection is not kept for a next one until this one is whole."""
        self._end_waiting()
        self._check_framing()
        if self.parser.should_upgrade() and self._has_body():
            # The parser takes what follows for another protocol's: the body is lost.
            self.app = _no_upgrade
        super().on_headers_complete()
        self._stage = "body"
        self._may_keep = self.cycle.keep_alive and not self.parser.should_upgrade()
        self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Let the connection be kept."""
        self._stage = "idle"
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._may_keep and not self._is_stopping
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or see to it that the last bytes are read."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_reading()

    def pause_writing(self) -> None:
        """Begin to wait for the caller to read."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """Write on."""
        self._end_unread()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection, though its last answer may never have been read."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Keep the connection for no other request."""
        self._is_stopping = True
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed."""
        is_large = self._head_bytes > self._bounds.max_header_bytes
        large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self._hang_up(large if is_large else HTTPStatus.BAD_REQUEST)

    def _unsupported_upgrade_warning(self) -> None:
        """Answer as if no upgrade had been asked for; a line in the log for each helps nobody."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _count_head(self, num_bytes: int) -> None:
        self._head_bytes += num_bytes
        if self._head_bytes > self._bounds.max_header_bytes:
            raise ValueError("The head of the request is too large.")

    def _check_framing(self) -> None:
        names = {name for name, _ in self.headers}
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise ValueError("This version of HTTP is not spoken.")
        if b"transfer-encoding" in names and (version == "1.0" or b"content-length" in names):
            raise ValueError("Where the request ends is said in two ways.")

    def _has_body(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    def _await_head(self) -> None:
        self._awaited_bytes = 0
        self._head_timer = self.loop.call_later(
            self._bounds.head_timeout_s, self._hang_up, HTTPStatus.REQUEST_TIMEOUT
        )

    def _end_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _await_reading(self) -> None:
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(
                self._bounds.send_timeout_s, self.transport.abort
            )

    def _end_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _hang_up(self, status: HTTPStatus) -> None:
        self._end_waiting()
        if self.transport.is_closing():
            return
        if self._may_answer():
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            rest = "connection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write((head + rest).encode())
        self.transport.close()
        self._await_reading()

    def _may_answer(self) -> bool:
        """Return whether what is written now is read as the answer to what is being received."""
        running = self._running
        if running is None or running.response_complete:
            return self._stage != "idle"
        return self._stage == "body" and self.cycle is running and not running.response_started


async def _turn_away(scope: object, receive: object, send: Send) -> None:
    error = TooManyConnections("The gateway has too many connections.", remedy="Send it again.")
    error.wait_s = _BUSY_WAIT_S
    await send_error(send, error, [(b"connection", b"close")])


async def _no_upgrade(scope: object, receive: object, send: Send) -> None:
    remedy = "Send it as HTTP/1.1, without an Upgrade header."
    await send_error(send, InputError("No other protocol is spoken.", remedy=remedy), [])
