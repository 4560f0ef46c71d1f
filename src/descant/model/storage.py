"""Folders that appear whole or not at all, and where they are kept.

A folder is written beside its place and renamed into it, so that a kill half-way leaves only a
leftover, which the next writer of the same folder removes. Knows nothing of what is in the files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from descant.schema.errors import InvalidConfig, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def default_cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return ``DESCANT_CACHE``, or the platform's cache folder for this program."""
    if chosen := environ.get("DESCANT_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "descant"
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "descant"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "descant"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time work on this folder; others wait.

    Raises:
        StorageFull: the lock file cannot be written.
    """
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    with storage_errors(folder):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to, which takes the place of `folder` at the end.

    Whatever goes wrong inside, the old folder stays as it was.

    Raises:
        StorageFull: the disk is full.
    """
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        try:
            yield partial
            _swap(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers of this folder left; call it while holding its lock.

    If the last one was killed while it put the new folder in place of the old, the old comes back.
    """
    for old in folder.parent.glob(f".{folder.name}.old-*/{folder.name}"):
        if not folder.exists():
            old.rename(folder)
    for pattern in (f".{folder.name}.partial-*", f".{folder.name}.old-*"):
        for leftover in folder.parent.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, or one that may not be written to, into the error that says so.

    Raises:
        StorageFull: the disk, or the user's share of it, is full.
        InvalidConfig: the place may not be written to.
    """
    remedy = "Free some space, or choose another place (DESCANT_CACHE for the cache)."
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"No space left while writing {path}.", remedy=remedy) from error
        if error.errno in _READ_ONLY:
            raise InvalidConfig(
                f"{path} may not be written to.",
                field="cache_dir",
                remedy="Choose another place (DESCANT_CACHE for the cache).",
            ) from error
        raise


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write one JSON file, readable by people."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _swap(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
        return
    # A folder that is not empty cannot be replaced in one step: the old one steps aside first.
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent))
    folder.rename(aside / folder.name)
    partial.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)
