"""Server-sent events, cut out of a stream of bytes that comes in any pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_EVENT_BYTES = 8 << 20
"""A larger event is no event: an answer's tokens come a few at a time."""

_END = re.compile(rb"\n\r?\n")
_FIELDS = (b":", b"event", b"id", b"retry")


class NotAnEvent(Exception):
    """What came is no server-sent event."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    raw: bytes
    """With the empty line that ends it."""
    data: bytes
    """Of its ``data`` lines; empty in a comment."""


class EventLines:
    """Holds what belongs to an unfinished event, and no more."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def rest(self) -> bytes:
        """What came after the last whole event."""
        return bytes(self._held)

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that are whole now; all of them are to be taken.

        Raises:
            NotAnEvent: after the events before it.
        """
        # An end that began in what was held is at most two bytes back.
        searched = max(0, len(self._held) - 2)
        self._held += piece
        begin = 0
        while found := _END.search(self._held, searched):
            yield _event(bytes(self._held[begin : found.end()]))
            begin = searched = found.end()
        del self._held[:begin]
        if len(self._held) > MOST_EVENT_BYTES:
            raise NotAnEvent


def _event(raw: bytes) -> Event:
    if len(raw) > MOST_EVENT_BYTES:
        raise NotAnEvent
    # Nearly all events are one line, and every token of every stream comes through here.
    if raw.startswith(b"data: ") and raw.count(b"\n") == 2:
        return Event(raw, raw[6:].rstrip(b"\r\n"))
    return Event(raw, b"\n".join(_data_lines(raw)))


def _data_lines(raw: bytes) -> Iterator[bytes]:
    for line in raw.split(b"\n"):
        line = line.removesuffix(b"\r")
        if line.startswith(b"data:"):
            yield line[5:].removeprefix(b" ")
        elif line and not line.startswith(_FIELDS):
            raise NotAnEvent
