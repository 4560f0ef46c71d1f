"""A stream in OpenAI's dialect, passed on byte by byte and read on the way."""

from __future__ import annotations

from typing import Any

from descant.gateway.call import Call, Usage
from descant.gateway.dialects.event_lines import Event
from descant.gateway.dialects.event_stream import EventStream
from descant.gateway.dialects.openai_usage import read_usage
from descant.gateway.dialects.refusal import Secrets

_DONE = b"[DONE]"


class OpenAIStream(EventStream):
    """Takes out what the caller did not ask for: the event of the usage, and nothing else."""

    def __init__(self, call: Call, secrets: Secrets):
        super().__init__(call, secrets)
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        """The last that the stream told."""
        return self._usage

    def end(self) -> bytes:
        """Return what closes the stream; some servers leave out the line after their last event."""
        rest = self._lines.rest.strip()
        is_open = not (self.is_complete or self.failure)
        if is_open and rest in (b"data: " + _DONE, b"data:" + _DONE):
            self.is_complete = True
            return rest + b"\n\n"
        return super().end()

    def _read(self, event: Event) -> bytes:
        if not event.data:
            return event.raw
        if event.data == _DONE:
            self.is_complete = True
            return event.raw
        chunk = self._object(event.data)
        if chunk is None:
            return b""
        self._usage = read_usage(chunk) or self._usage
        is_shown = self._shows_usage or not _is_usage_alone(chunk)
        return event.raw if is_shown else b""


def _is_usage_alone(chunk: dict[str, Any]) -> bool:
    """Return whether this is the event that only asking for the usage brings."""
    return chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)
