"""What people are to look at: JSON lines, only ever appended to.

A line holds the conversation, so the file is its owner's alone. A line cut off by a power failure is
the last one, and readers of JSON lines meet it as such.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson

from descant.gateway.call import Call
from descant.gateway.cascade.offers import Json
from descant.schema.errors import InvalidConfig, StorageFull

_OWNER_ONLY = 0o600
_FULL = {errno.ENOSPC, errno.EDQUOT}


def _now() -> datetime:
    return datetime.now(tz=UTC)


class ReviewQueue:
    """One file; processes may append to it side by side, for each line is written at once."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = _now):
        """Open the file or begin it.

        Raises:
            InvalidConfig: it cannot be written.
        """
        self._path = path
        self._clock = clock
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _OWNER_ONLY)
        except OSError as error:
            raise InvalidConfig(
                f"{path} cannot be written: {error.strerror}.", field="review_file"
            ) from error

    def append(self, call: Call, answer: Json, units: tuple[str, ...]) -> None:
        """Add a request, what was answered to it, and what of that nobody was sure of.

        Raises:
            StorageFull: the line could not be written whole; what was there is intact.
        """
        line = orjson.dumps(
            {
                "time": self._clock().isoformat(),
                "id": call.id,
                "tenant": call.caller.tenant,
                "operation": call.operation,
                "model": call.model,
                "units": units,
                "request": call.body,
                "answer": answer,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        end = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull(f"{self._path}: {error.strerror}.") from error
            raise
        if written < len(line):
            self._take_back(end, written)
            raise StorageFull(f"{self._path}: no room for a line of {len(line)} bytes.")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _take_back(self, end: int, written: int) -> None:
        # Only where nobody else has appended since: their line must not be cut.
        if os.fstat(self._file).st_size == end + written:
            os.ftruncate(self._file, end)
