"""What a folder holds, known by a hash over every byte of it and every name in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, order=True)
class FileDigest:
    """One file of a content."""

    path: str
    """Below the folder, with ``/`` between its parts."""
    sha256: str
    """Hexadecimal digits."""
    num_bytes: int


@dataclass(frozen=True)
class Content:
    """All files of one folder."""

    files: tuple[FileDigest, ...]

    @classmethod
    def of(cls, files: Iterable[FileDigest]) -> Content:
        """Return the content of these files, whatever their order."""
        return cls(tuple(sorted(files)))

    @property
    def version(self) -> str:
        """``sha256:…`` over paths, sizes and digests; what a version of an adapter is called."""
        lines = [f"{file.sha256} {file.num_bytes} {file.path}\n" for file in self.files]
        return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def num_bytes(self) -> int:
        """What its files take together."""
        return sum(file.num_bytes for file in self.files)


def read_content(folder: Path) -> Content:
    """Return the content of a folder, by reading all of it."""
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    return Content.of(read_digest(folder, path.relative_to(folder).as_posix()) for path in paths)


def read_digest(folder: Path, path: str) -> FileDigest:
    """Return the digest of one file, by reading it."""
    with (folder / path).open("rb") as file:
        return _pour(file, None, path)


def write_file(source: BinaryIO, folder: Path, path: str) -> FileDigest:
    """Copy a file into a folder, down to the disk, and return the digest of what was written."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        digest = _pour(source, file, path)
        file.flush()
        os.fsync(file.fileno())
    target.chmod(0o444)
    return digest


def _pour(source: BinaryIO, target: BinaryIO | None, path: str) -> FileDigest:
    digest, num_bytes = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        num_bytes += len(chunk)
        if target is not None:
            target.write(chunk)
    return FileDigest(path, digest.hexdigest(), num_bytes)
