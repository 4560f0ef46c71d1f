"""Lines on the local disk until the database has them.

Each process writes a file of its own, and holds its lock for as long as it lives. What a killed process
leaves is taken over by the next one that looks.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

_ENDING = ".waiting.jsonl"


class WaitingFile:
    """One file of lines: added to at its end by one thread, shipped from its front by another."""

    def __init__(self, path: Path, descriptor: int):
        self._path = path
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._begin = 0
        self._end = os.fstat(descriptor).st_size

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Make a new file, locked.

        Raises:
            OSError: nothing can be written there.
        """
        path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{_ENDING}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        # Another process may have found it before it was locked, and removed it, for it is empty.
        if not _has_locked(descriptor) or not path.exists():
            os.close(descriptor)
            return cls.create(folder)
        return cls(path, descriptor)

    @classmethod
    def left_in(cls, folder: Path) -> Iterator[Self]:
        """Take over, one after the other, the files of processes that are gone."""
        for path in sorted(folder.glob(f"*{_ENDING}")):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
            except FileNotFoundError:
                continue
            if not _has_locked(descriptor) or not path.exists():
                os.close(descriptor)
                continue
            left = cls(path, descriptor)
            left._end_last_line()
            yield left

    @property
    def num_bytes(self) -> int:
        """What waits."""
        return self._end - self._begin

    def append(self, lines: bytes) -> None:
        """Add whole lines, or nothing.

        Raises:
            OSError: the disk is full or broken.
        """
        with self._lock:
            try:
                written = os.write(self._descriptor, lines)
                while written < len(lines):
                    written += os.write(self._descriptor, lines[written:])
            except OSError:
                os.ftruncate(self._descriptor, self._end)
                raise
            self._end += len(lines)

    def sync(self) -> None:
        """Make what was added survive a power cut.

        Raises:
            OSError: the disk is broken.
        """
        os.fsync(self._descriptor)

    def first(self, most_bytes: int) -> bytes:
        """Return whole lines from the front, at least one if any waits."""
        begin, end = self._begin, self._end
        found = os.pread(self._descriptor, min(most_bytes, end - begin), begin)
        while found and not found.endswith(b"\n") and b"\n" not in found:
            found += os.pread(self._descriptor, most_bytes, begin + len(found))
        return found[: found.rfind(b"\n") + 1]

    def forget(self, num_bytes: int) -> None:
        """Let go of so much at the front; a file of which nothing waits is emptied."""
        with self._lock:
            self._begin += num_bytes
            if self._begin == self._end:
                os.ftruncate(self._descriptor, 0)
                self._begin = self._end = 0

    def close(self) -> None:
        """Leave the file to whoever comes next; one of which nothing waits is removed."""
        if not self.num_bytes:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _end_last_line(self) -> None:
        # Half a line becomes a line that nobody can read, which is reported as such.
        if self._end and os.pread(self._descriptor, 1, self._end - 1) != b"\n":
            self.append(b"\n")


def _has_locked(descriptor: int) -> bool:
    # Not on every system, and needed only where books are kept.
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
