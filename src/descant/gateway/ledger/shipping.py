"""Lines that wait on the disk → rows of the database."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import orjson

from descant.gateway.ledger.database import LedgerDatabase, RowsRefused
from descant.gateway.ledger.loss import Loss
from descant.gateway.ledger.waiting_file import WaitingFile

_MOST_BYTES = 256 * 1024
_REFUSED = "refused.jsonl"


class Shipping:
    """Ships one process's own file, and those that killed processes left; for one thread at a time."""

    def __init__(self, folder: Path, own: WaitingFile, clock: Callable[[], float]):
        self._folder = folder
        self._own = own
        self._left: list[WaitingFile] = []
        self.refused = Loss(
            f"were not taken by the database; they are in {folder / _REFUSED}", clock
        )

    @property
    def num_bytes(self) -> int:
        """What this process has still to ship."""
        return self._own.num_bytes + sum(file.num_bytes for file in self._left)

    def look_around(self) -> None:
        """Take over the files of processes that are gone."""
        self._left += WaitingFile.left_in(self._folder)

    def ship(self, database: LedgerDatabase, *, may_go_on: Callable[[], bool]) -> None:
        """Write all that waits, as long as it may go on.

        Raises:
            LedgerUnavailable: the database does not answer; what it has not taken waits on.
        """
        while may_go_on() and (lines := self._own.first(_MOST_BYTES)):
            self._add(database, lines)
            self._own.forget(len(lines))
        while self._left and may_go_on():
            file = self._left[-1]
            if lines := file.first(_MOST_BYTES):
                self._add(database, self._readable(lines))
                file.forget(len(lines))
            else:
                self._left.pop().close()

    def close(self) -> None:
        """Leave what still waits to whoever comes next."""
        for file in (self._own, *self._left):
            file.close()
        self._left.clear()

    def _add(self, database: LedgerDatabase, lines: bytes) -> None:
        if not lines:
            return
        try:
            database.append(lines)
        except RowsRefused:
            # One bad row must not hold up those behind it.
            self._add_singly(database, lines.splitlines(keepends=True))

    def _add_singly(self, database: LedgerDatabase, lines: list[bytes]) -> None:
        for line in lines:
            try:
                database.append(line)
            except RowsRefused:
                self._set_aside(line)

    def _readable(self, lines: bytes) -> bytes:
        return b"".join(line for line in lines.splitlines(keepends=True) if self._is_readable(line))

    def _is_readable(self, line: bytes) -> bool:
        try:
            orjson.loads(line)
        except orjson.JSONDecodeError:
            self._set_aside(line)
            return False
        return True

    def _set_aside(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self._folder / _REFUSED, flags, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.refused.add(1)
