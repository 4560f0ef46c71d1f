"""What is going to be written in answer to one request, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import orjson

Ending = Literal["keep", "close", "reset", "half_close", "hang"]
_REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 429: b"Too Many Requests"}
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Bytes to write: the first frame after the delay, the others a gap apart, then the ending."""

    frames: tuple[bytes, ...]
    delay_s: float = 0.0
    gap_s: float = 0.0
    ending: Ending = "keep"
    status: int = 0
    """0 where nothing is answered."""

    def half(self, ending: Ending) -> Plan:
        """Return half of it, which then ends otherwise."""
        if len(self.frames) > 1:
            return replace(self, frames=self.frames[: len(self.frames) // 2], ending=ending)
        whole = self.frames[0]
        body = whole.index(b"\r\n\r\n") + 4
        return replace(self, frames=(whole[: (body + len(whole)) // 2],), ending=ending)


def json_plan(value: object, status: int = 200, headers: Headers = ()) -> Plan:
    """Return an answer of JSON."""
    return body_plan(orjson.dumps(value), status=status, headers=headers)


def body_plan(
    body: bytes, kind: str = "application/json", status: int = 200, headers: Headers = ()
) -> Plan:
    """Return an answer whose length is said before."""
    head = _head(status, kind, headers)
    return Plan((head + b"content-length: %d\r\n\r\n" % len(body) + body,), status=status)


def stream_plan(events: Sequence[bytes], gap_s: float, headers: Headers = ()) -> Plan:
    """Return server-sent events, each a chunk of its own; the last one carries the end."""
    head = _head(200, "text/event-stream", headers) + b"transfer-encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    chunks[0] = head + chunks[0]
    chunks[-1] += b"0\r\n\r\n"
    return Plan(tuple(chunks), gap_s=gap_s, status=200)


def error_plan(status: int, message: str, kind: str, headers: Headers = ()) -> Plan:
    """Return an error as OpenAI words it."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": kind}}
    return json_plan(body, status, headers)


def _head(status: int, kind: str, headers: Headers) -> bytes:
    reason = _REASONS.get(status, b"Server Error")
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%b" % (status, reason, kind.encode(), lines)
