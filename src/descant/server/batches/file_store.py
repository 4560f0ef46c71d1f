"""Files that callers uploaded, and those that batches wrote for them.

A file is a folder with its bytes and a document that describes it. A tenant sees its own files only.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from descant.schema.errors import NotFound
from descant.server.batches.shelf import Shelf, storing

CONTENT = "content"


@dataclass(frozen=True)
class StoredFile:
    """What is known of one file; `created_at` is seconds since 1970."""

    id: str
    tenant: str
    filename: str
    purpose: str
    size_bytes: int
    created_at: int


@dataclass(frozen=True)
class Draft:
    """A file that is being written and that no one sees yet."""

    folder: Path
    content: BinaryIO

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            StorageFull: the disk is full.
        """
        with storing():
            self.content.write(data)

    def sync(self) -> None:
        """Make what was written survive a power cut.

        Raises:
            StorageFull: the disk is full.
        """
        with storing():
            self.content.flush()
            os.fsync(self.content.fileno())


class FileStore:
    """The files under one folder; for one thread of one process."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time):
        self._shelf = Shelf(folder)
        self._clock = clock
        stored = (StoredFile(**document) for document in self._shelf.documents())
        self._files = {file.id: file for file in sorted(stored, key=_age)}

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """Give a file to write to; what is not published when the block ends is gone.

        Raises:
            StorageFull: the disk is full.
        """
        folder = self._shelf.draft()
        try:
            with storing(), (folder / CONTENT).open("xb") as content:
                yield Draft(folder, content)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self, folder: Path, *, tenant: str, filename: str, purpose: str, id: str | None = None
    ) -> StoredFile:
        """Take over a folder whose file ``content`` is complete and on disk.

        Raises:
            StorageFull: the disk is full; the folder is where it was.
        """
        size_bytes = (folder / CONTENT).stat().st_size
        now = int(self._clock())
        file = StoredFile(id or new_file_id(), tenant, filename, purpose, size_bytes, now)
        self._shelf.publish(folder, file.id, asdict(file))
        self._files[file.id] = file
        return file

    def get(self, id: str, tenant: str) -> StoredFile:
        """Return one file of this tenant.

        Raises:
            NotFound: the tenant has no file of that id.
        """
        file = self._files.get(id)
        if file is None or file.tenant != tenant:
            raise NotFound(f"No file {id!r}.", field="file_id", remedy="List them: GET /v1/files.")
        return file

    def has(self, id: str) -> bool:
        """Return whether there is a file of that id, of whichever tenant."""
        return id in self._files

    def of(self, tenant: str) -> list[StoredFile]:
        """Return the files of this tenant, oldest first."""
        return [file for file in self._files.values() if file.tenant == tenant]

    def content(self, id: str) -> Path:
        """Return where the bytes of a file are."""
        return self._shelf.folder(id) / CONTENT

    def delete(self, id: str) -> None:
        """Remove a file that there is."""
        del self._files[id]
        self._shelf.remove(id)


def new_file_id() -> str:
    """Return an id no other file has."""
    return f"file-{uuid.uuid4().hex}"


def _age(file: StoredFile) -> tuple[int, str]:
    return file.created_at, file.id
