"""JSON lines, plain or gzipped: one object a line, every error with file and line.

Knows nothing of conversations.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from descant.registry import replacing
from descant.schema.errors import InvalidData


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number, from 1, and the object of every line that is not blank.

    Raises:
        InvalidData: the file cannot be read, or a line is not UTF-8 or not a JSON object.
    """
    for number, line in read_lines(path):
        yield number, parse_object(line, f"{path}, line {number}")


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the line number, from 1, and the bytes of every line that is not blank.

    Raises:
        InvalidData: the file cannot be read.
    """
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidData(f"{path}: cannot be read: {reason}.", field="path") from error


def parse_object(line: bytes, origin: str) -> dict[str, Any]:
    """Return the object in a line; `origin` is named in errors.

    Raises:
        InvalidData: the line is not UTF-8 or not a JSON object.
    """
    try:
        table = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_table)
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"{origin}: byte {error.start + 1} is not UTF-8.", remedy="Save the file as UTF-8."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{origin}: not JSON: {error}.") from error
    if not isinstance(table, dict):
        raise InvalidData(f"{origin}: must be a JSON object.")
    return table


def write_objects(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Write one object a line; `path` is replaced when all are written, or not at all.

    Raises:
        InvalidData: an object holds text that UTF-8 cannot carry.
        StorageFull: the disk is full; the old file is as it was.
    """
    with replacing(path) as file, _packed(file, path) as out:
        for number, table in enumerate(objects, start=1):
            out.write(_encode(table, f"{path}, line {number}"))


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if _is_gzip(path) else path.open("rb")


def _packed(file: BinaryIO, path: Path) -> AbstractContextManager[IO[bytes]]:
    if not _is_gzip(path):
        return nullcontext(file)
    # A fixed time keeps the bytes a function of the content.
    return cast("IO[bytes]", gzip.GzipFile("", "wb", fileobj=file, mtime=0))


def _is_gzip(path: Path) -> bool:
    return path.suffix == ".gz"


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return table


def _encode(table: Mapping[str, Any], origin: str) -> bytes:
    try:
        return json.dumps(table, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise InvalidData(f"{origin}: holds half of a surrogate pair, not text.") from error
