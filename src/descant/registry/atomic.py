"""Files that are either the old one or the whole new one, never a part.

A kill, a crash or a full disk while writing leaves what was there before; at worst a file whose name
starts with a dot stays behind, which nothing reads.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from descant.schema.errors import InvalidConfig, StorageFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block ends without an error.

    Raises:
        StorageFull: the disk or the quota is full; the old file is as it was.
        InvalidConfig: nothing can be written in that folder.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    file = _create(temporary, path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise _storage_full(path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut, where the system offers that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(temporary: Path, path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return temporary.open("xb")
    except OSError as error:
        if error.errno in _FULL:
            raise _storage_full(path) from error
        raise InvalidConfig(
            f"Cannot write in {path.parent}: {error.strerror}.",
            field="path",
            remedy="Choose a folder that exists or can be made, and that you may write in.",
        ) from error


def _storage_full(path: Path) -> StorageFull:
    return StorageFull(
        f"The disk is full: {path} was not written.",
        field="path",
        remedy="What was there before is unchanged; free some space and try again.",
    )
