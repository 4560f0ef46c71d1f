"""What the reading of every stream has in common: it goes event by event, and it ends somehow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from descant.gateway.call import Call, Usage
from descant.gateway.dialects.dialect import StreamFailure
from descant.gateway.dialects.document import parse_object
from descant.gateway.dialects.event_lines import Event, EventLines, NotAnEvent
from descant.gateway.dialects.refusal import Secrets
from descant.gateway.dialects.stream_failure import CUT, GARBLED, failure_event, stated_failure


class EventStream(ABC):
    """Passes on whole events only, and none after the end or a failure."""

    def __init__(self, call: Call, secrets: Secrets):
        self.is_complete = False
        self.failure: StreamFailure | None = None
        self._lines = EventLines()
        self._secrets = secrets
        self._shows_usage = asks_usage(call)

    @property
    @abstractmethod
    def usage(self) -> Usage | None:
        """What the stream has said so far of its usage."""

    @abstractmethod
    def _read(self, event: Event) -> bytes:
        """Return what this event becomes."""

    def feed(self, piece: bytes) -> bytes:
        """Return the bytes to send on now."""
        passed: list[bytes] = []
        if self.is_complete or self.failure:
            return b""
        try:
            for event in self._lines.feed(piece):
                passed.append(self._read(event))
                if self.is_complete or self.failure:
                    break
        except NotAnEvent:
            self.failure = GARBLED
        return b"".join(passed)

    def end(self) -> bytes:
        """Return what closes the stream: nothing after a proper end."""
        if self.is_complete:
            return b""
        if self.failure is None:
            self.failure = self._unfinished(self._lines.rest)
        return failure_event(self.failure)

    def _unfinished(self, rest: bytes) -> StreamFailure:
        """Return why it is no whole answer: it may be no stream at all, but an error's JSON."""
        document = parse_object(rest)
        stated = stated_failure(document, self._secrets) if document else None
        return stated or CUT

    def _object(self, data: bytes) -> dict[str, Any] | None:
        """Return what an event says, or note why it says nothing."""
        document = parse_object(data)
        self.failure = GARBLED if document is None else stated_failure(document, self._secrets)
        return None if self.failure else document


def asks_usage(call: Call) -> bool:
    """Return whether the caller wants the usage at the end of its stream."""
    options = call.body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
