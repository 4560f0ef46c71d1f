"""Records of requests → lines on the local disk."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from descant.gateway.ledger.loss import Loss
from descant.gateway.ledger.record import UsageRecord
from descant.gateway.ledger.waiting_file import WaitingFile

_log = logging.getLogger(__name__)
_AT_ONCE = 64
"""Lines written at once: at each write the event loop has its turn."""


@dataclass(frozen=True)
class LedgerBounds:
    """How much may wait."""

    most_records: int = 50_000
    """In memory, for the local disk."""
    most_bytes: int = 1_000_000_000
    """On the local disk, for the database: some two million records."""


class Intake:
    """Takes records from one thread without waiting; another one moves them to the disk."""

    def __init__(self, file: WaitingFile, bounds: LedgerBounds, clock: Callable[[], float]):
        self._file = file
        self._most_records = bounds.most_records
        self._most_bytes = bounds.most_bytes
        self._came: deque[UsageRecord] = deque()
        self._lines: list[bytes] = []
        self._moving = threading.Lock()
        self.lost = Loss("are lost, for more waited than may", clock)
        self.unwritable = Loss("are lost, for they have fields that cannot be written", clock)

    def take(self, record: UsageRecord) -> None:
        """Keep a record in memory, if there is room."""
        if len(self._came) < self._most_records:
            self._came.append(record)
        else:
            self.lost.add(1)

    def move(self) -> bool:
        """Bring to the disk what is there now, and return whether there was anything.

        Where the disk does not take it, it stays in memory.
        """
        with self._moving:
            left = len(self._came)
            if not left and not self._lines:
                return False
            try:
                self._write(left)
            except OSError as error:
                _log.error("Usage records cannot be written to the disk: %s", error)
            return True

    def close(self) -> None:
        """Take nothing more: what comes is lost."""
        self._most_records = 0

    def _write(self, left: int) -> None:
        while left > 0 or self._lines:
            if not self._lines:
                self._lines = self._pop(min(left, _AT_ONCE))
                left -= _AT_ONCE
            lines = b"".join(self._lines)
            if self._file.num_bytes + len(lines) > self._most_bytes:
                self.lost.add(len(self._lines))
            else:
                self._file.append(lines)
            self._lines = []
        self._file.sync()

    def _pop(self, count: int) -> list[bytes]:
        lines = []
        for _ in range(count):
            record = self._came.popleft()
            try:
                lines.append(record.to_line())
            except (TypeError, ValueError, OverflowError, OSError):
                self.unwritable.add(1)
        return lines
