"""Plans on the wire: HTTP/1.1 with connections kept, requests in a pipeline, chunked streams."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

import httptools
from benchmarks.gateway.mock.plan import Plan
from benchmarks.gateway.mock.upstream import MockUpstream

_RESET_AFTER_S = 0.01
"""So that what was written before a reset has gone out."""
_LINGER_NONE = struct.pack("ii", 1, 0)


class MockProtocol(asyncio.Protocol):
    """One connection; its requests are answered one after the other, in order."""

    def __init__(self, upstream: MockUpstream, open_transports: set[asyncio.Transport]) -> None:
        self._upstream = upstream
        self._open = open_transports
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[str, str, bytes]] = deque()
        self._playing: Plan | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._url = b""
        self._body: list[bytes] = []
        self._is_kept = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self._transport)

    def data_received(self, data: bytes) -> None:
        """Read as many requests as there are."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was still to be written."""
        self._open.discard(self._transport)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._playing is not None:
            self._playing = None
            self._upstream.counts.end(was_left=True)

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser: a request is whole."""
        method = self._parser.get_method().decode()
        self._waiting.append((method, self._url.decode(), b"".join(self._body)))
        self._url, self._body = b"", []
        self._is_kept = self._parser.should_keep_alive()
        self._next()

    def _next(self) -> None:
        while self._waiting and self._playing is None:
            plan = self._upstream.plan(*self._waiting.popleft())
            self._playing = plan
            self._upstream.counts.begin()
            if plan.delay_s:
                self._timer = self._loop.call_later(plan.delay_s, self._play_late)
            else:
                self._play()

    def _play_late(self) -> None:
        self._play()
        self._next()

    def _play(self) -> None:
        plan = self._playing
        assert plan is not None
        if plan.gap_s and len(plan.frames) > 1:
            self._frame(plan, 0, self._loop.time())
        else:
            self._transport.write(b"".join(plan.frames))
            self._end(plan)

    def _frame(self, plan: Plan, index: int, start_s: float) -> None:
        """Write one piece; the times of all are fixed by the first, so that none drifts."""
        self._transport.write(plan.frames[index])
        if index + 1 == len(plan.frames):
            self._end(plan)
            self._next()
            return
        due_s = start_s + (index + 1) * plan.gap_s
        self._timer = self._loop.call_at(due_s, self._frame, plan, index + 1, start_s)

    def _end(self, plan: Plan) -> None:
        if plan.ending == "hang":
            return
        self._playing = None
        self._upstream.counts.end(was_left=False)
        if plan.ending == "close" or (plan.ending == "keep" and not self._is_kept):
            self._transport.close()
        elif plan.ending == "half_close":
            self._transport.write_eof()
        elif plan.ending == "reset":
            self._loop.call_later(_RESET_AFTER_S, self._reset)

    def _reset(self) -> None:
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None and not self._transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._transport.abort()


@contextlib.asynccontextmanager
async def serving(upstream: MockUpstream, port: int = 0) -> AsyncIterator[str]:
    """Serve on a loopback port of the running loop, 0 for a free one; yields the address."""
    transports: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: MockProtocol(upstream, transports), "127.0.0.1", port, backlog=2048
    )
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for transport in list(transports):
            transport.abort()
        await server.wait_closed()
