"""One JSON line for each request: who, what, how long; never what was said.

No field holds text of a conversation, its id or an error's message, any of which may be personal.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TextIO

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RequestRecord:
    """One answered request."""

    id: str
    route: str
    status: int
    time_s: float
    tokens_read: int | None = None
    tokens_shared: int | None = None
    error: str | None = None
    """The error's code."""


def _now() -> datetime:
    return datetime.now(tz=UTC)


class RequestLog:
    """Writes records to a stream, whole lines even from several threads."""

    def __init__(self, stream: TextIO, clock: Callable[[], datetime] = _now):
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()

    def write(self, record: RequestRecord) -> None:
        """Write one line; a log that cannot be written is reported and fails no request."""
        fields = {key: value for key, value in asdict(record).items() if value is not None}
        fields["time_s"] = round(record.time_s, 6)
        line = json.dumps({"time": self._clock().isoformat(), **fields})
        try:
            with self._lock:
                self._stream.write(line + "\n")
                self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            _log.warning("Request log cannot be written: %s", error)
