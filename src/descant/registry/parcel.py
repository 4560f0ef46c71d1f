"""One adapter as one file: a tar with an index in front, then the files the index names.

Reading trusts nothing in it: names are those an adapter may have, sizes and hashes are those of the
index, the index gives the version that was asked for, and nothing is left over or missing.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from descant.registry.accepted_files import check_needed, check_path
from descant.registry.atomic import replacing
from descant.registry.content import Content, FileDigest, write_file
from descant.schema.errors import InvalidAdapter

INDEX_FILE = "descant-adapter.json"
_FORMAT_VERSION = 1
_LARGEST_INDEX_BYTES = 1 << 20
_FIELDS = {"format_version", "name", "version", "files"}


@dataclass(frozen=True)
class Index:
    """What a parcel says it holds."""

    name: str
    content: Content


def write_parcel(path: Path, name: str, folder: Path, content: Content) -> None:
    """Write a content as one file, whole or not at all; the same content is the same bytes.

    Raises:
        InvalidAdapter: a file in the folder is not what the content says.
        StorageFull: nothing was written.
    """
    index = {
        "format_version": _FORMAT_VERSION,
        "name": name,
        "version": content.version,
        "files": [vars(file) for file in content.files],
    }
    text = json.dumps(index, indent=2, ensure_ascii=False).encode() + b"\n"
    with replacing(path) as target, tarfile.open(fileobj=target, mode="w:") as parcel:
        parcel.addfile(_header(INDEX_FILE, len(text)), io.BytesIO(text))
        for file in content.files:
            with (folder / file.path).open("rb") as source:
                parcel.addfile(_header(file.path, file.num_bytes), source)


def read_parcel(path: Path, building: Path) -> Index:
    """Write the files of a parcel into an empty folder and return its index.

    Raises:
        InvalidAdapter: it is not a whole parcel, or holds what it should not; names the file.
    """
    with _opened(path) as parcel:
        members = iter(parcel)
        index = _read_index(parcel, next(members, None), str(path))
        wanted = {file.path: file for file in index.content.files}
        for member in members:
            file = wanted.pop(member.name, None)
            if file is None or not member.isreg() or member.size != file.num_bytes:
                raise _refused(path, f"{member.name[:256]!r} is not what its index names")
            _take(parcel, member, file, building, path)
    if wanted:
        raise _refused(path, f"{min(wanted)} is missing")
    return index


def _take(
    parcel: tarfile.TarFile, member: tarfile.TarInfo, file: FileDigest, building: Path, path: Path
) -> None:
    source = parcel.extractfile(member)
    assert source is not None
    if write_file(_binary(source), building, file.path) != file:
        raise _refused(path, f"{file.path} is damaged")


def _binary(source: Any) -> BinaryIO:
    stream: BinaryIO = source
    return stream


def _header(name: str, num_bytes: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = num_bytes, 0o644
    return header


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        # Not compressed: a small file cannot become a large one.
        with tarfile.open(path, mode="r:") as parcel:
            yield parcel
    except OSError as error:
        raise InvalidAdapter(f"{path}: cannot be read: {error.strerror}.", field="path") from error
    except tarfile.TarError as error:
        raise _refused(path, f"it is not a whole tar file ({error})") from error


def _read_index(parcel: tarfile.TarFile, member: tarfile.TarInfo | None, origin: str) -> Index:
    if member is None or member.name != INDEX_FILE or not member.isreg():
        raise _refused(origin, f"it does not begin with {INDEX_FILE}")
    if member.size > _LARGEST_INDEX_BYTES:
        raise _refused(origin, f"{INDEX_FILE} is too long")
    source = parcel.extractfile(member)
    assert source is not None
    try:
        index = _index_of(json.loads(source.read()), origin)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _refused(origin, f"{INDEX_FILE} cannot be understood") from error
    return index


def _index_of(table: dict[str, Any], origin: str) -> Index:
    if table.keys() != _FIELDS or table["format_version"] != _FORMAT_VERSION:
        raise ValueError("another format")
    content = Content.of(_digest_of(file) for file in table["files"])
    paths = [file.path for file in content.files]
    for path in paths:
        check_path(path, origin)
    check_needed(paths, origin)
    if content.version != table["version"] or len(set(paths)) != len(paths):
        raise _refused(origin, "its index does not give its version")
    return Index(str(table["name"]), content)


def _digest_of(file: dict[str, Any]) -> FileDigest:
    digest = FileDigest(**file)
    if not isinstance(digest.path, str) or type(digest.num_bytes) is not int:
        raise TypeError("not a file")
    return digest


def _refused(origin: Path | str, reason: str) -> InvalidAdapter:
    return InvalidAdapter(
        f"{origin}: not taken in: {reason}.",
        field="path",
        remedy="Export it again with: descant registry export.",
    )
