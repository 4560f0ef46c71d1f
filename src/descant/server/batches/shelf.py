"""A folder of folders, each with one JSON document, each there whole or not at all.

A folder is prepared under a name that starts with a dot and renamed when it is whole. What a kill
leaves under such a name is removed when the shelf is next opened, so one process at a time opens it.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from descant.registry import replacing, sync_folder
from descant.schema.errors import InvalidConfig, StorageFull

_DOCUMENT = "document.json"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Shelf:
    """The folders in one folder.

    Raises:
        InvalidConfig: the folder cannot be made or written in.
        StorageFull: the disk is full.
    """

    def __init__(self, root: Path):
        self._root = root
        with storing():
            _make(root)
        for leftover in root.glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def folder(self, name: str) -> Path:
        """Return where the folder of that name is, or would be."""
        return self._root / name

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield the document of every folder."""
        for path in sorted(self._root.glob(f"*/{_DOCUMENT}")):
            yield json.loads(path.read_bytes())

    def draft(self) -> Path:
        """Return a new empty folder that no one sees; the caller publishes or removes it.

        Raises:
            StorageFull: the disk is full.
        """
        path = self._root / f".{secrets.token_hex(8)}"
        with storing():
            path.mkdir()
        return path

    def publish(self, draft: Path, name: str, document: Mapping[str, Any]) -> None:
        """Add the document to a folder on the same disk and give it its place and name.

        Raises:
            StorageFull: the disk is full; the folder is where it was.
        """
        with storing():
            _write(draft / _DOCUMENT, document)
            os.rename(draft, self._root / name)
            sync_folder(self._root)

    def rewrite(self, name: str, document: Mapping[str, Any]) -> None:
        """Replace the document of one folder.

        Raises:
            StorageFull: the disk is full; the old document is as it was.
        """
        with storing():
            _write(self._root / name / _DOCUMENT, document)

    def remove(self, name: str) -> None:
        """Remove one folder; it is gone at once, its space soon after."""
        aside = self._root / f".{secrets.token_hex(8)}"
        os.rename(self._root / name, aside)
        sync_folder(self._root)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def storing() -> Iterator[None]:
    """Turn a full disk into the error that says so and does not name the server's folders.

    Raises:
        StorageFull: the disk or the quota is full.
    """
    try:
        yield
    except StorageFull as error:
        raise _storage_full() from error
    except OSError as error:
        if error.errno in _FULL:
            raise _storage_full() from error
        raise


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise InvalidConfig(
            f"Cannot write in {root}: {error.strerror}.",
            field="folder",
            remedy="Choose a folder that exists or can be made, and that you may write in.",
        ) from error


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(document, indent=1).encode() + b"\n")


def _storage_full() -> StorageFull:
    return StorageFull(
        "The server's disk is full; nothing was stored.",
        remedy="Delete files that are no longer needed, or send it again later.",
    )
