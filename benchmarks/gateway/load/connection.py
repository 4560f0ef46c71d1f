"""One connection to a server, and what came over it."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import cast

import httptools

_TEXT = re.compile(rb'"(?:content|text)": ?"[^"]')
Address = tuple[str, int]


@dataclass(slots=True)
class Answer:
    """One answer; times are those of `time.perf_counter`."""

    sent_s: float
    status: int = 0
    error: str | None = None
    """Why it is none or not whole: connect, reset, closed, cut, timeout, garbage."""
    ended_s: float = 0.0
    pieces_s: list[float] = field(default_factory=list)
    """When each piece of text of a stream came."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def is_good(self) -> bool:
        """Whether it is whole and of status 200."""
        return self.status == 200 and self.error is None

    @property
    def kind(self) -> str:
        """The error, or the status."""
        return self.error or str(self.status)

    @property
    def retry_after_s(self) -> float | None:
        """What Retry-After says; None where it says nothing or nonsense."""
        told = self.headers.get("retry-after", "")
        return float(told) if re.fullmatch(r"\d+(\.\d+)?", told) else None


class Connection(asyncio.Protocol):
    """Sends one request after the other; a broken one cannot be used again."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer(0.0)
        self._done: asyncio.Future[None] | None = None
        self._body: list[bytes] = []
        self.is_open = False

    @classmethod
    async def open(cls, address: Address) -> Connection:
        """Connect.

        Raises:
            OSError: nobody listens there.
        """
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, *address)
        return connection

    async def ask(self, request: bytes, timeout_s: float) -> Answer:
        """Send a request and return its answer, whatever becomes of it."""
        self._answer = Answer(time.perf_counter())
        self._body = []
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        timer = loop.call_later(timeout_s, self._finish, "timeout")
        self._transport.write(request)
        try:
            await self._done
        finally:
            timer.cancel()
            if not self._done.done():
                self._transport.abort()
        return self._answer

    def close(self) -> None:
        """Close it."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.is_open = False
        self._finish("reset" if exc else "closed")

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish("garbage")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)
        now_s = time.perf_counter()
        self._answer.pieces_s.extend(now_s for _ in _TEXT.finditer(body))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._answer.status = self._parser.get_status_code()
        body = b"".join(self._body)
        is_whole = body.rstrip().endswith((b"}", b"]"))
        self._answer.error = None if is_whole else "cut"
        kept = self._parser.should_keep_alive()
        self._finish(self._answer.error)
        if not kept:
            self.is_open = False
            self._transport.close()

    def _finish(self, error: str | None) -> None:
        if self._done is None or self._done.done():
            return
        self._answer.error = error
        self._answer.body = b"".join(self._body)
        self._answer.ended_s = time.perf_counter()
        if error is not None:
            self.is_open = False
            self._transport.abort()
        self._done.set_result(None)
