"""A lock on a folder, held by one writer alone or shared by several, and gone with its process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = ".lock"


@contextmanager
def folder_lock(folder: Path, *, is_shared: bool = False, waits: bool = True) -> Iterator[bool]:
    """Hold the lock of a folder; yields False where it was not to be had and nobody waited.

    The system lets go of it when the process ends, however it ends.
    """
    # Not on every system, and not needed to read a registry.
    import fcntl

    kind = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, kind if waits else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
