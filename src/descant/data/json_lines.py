"""JSON lines and JSON documents, plain or gzipped: every error with file and line.

Knows nothing of conversations.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from descant.data.input_file import is_gzip, open_input
from descant.registry import replacing
from descant.schema.errors import InvalidData


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number, from 1, and the object of every line that is not blank.

    Raises:
        InvalidData: the file cannot be read, or a line is not UTF-8 or not a JSON object.
    """
    for number, line in read_lines(path):
        yield number, parse_object(line, f"{path}, line {number}")


def read_values(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the line number, from 1, and the JSON value of every line that is not blank.

    Raises:
        InvalidData: the file cannot be read, or a line is not UTF-8 or not JSON.
    """
    for number, line in read_lines(path):
        yield number, parse_json(line, f"{path}, line {number}")


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the line number, from 1, and the bytes of every line that is not blank.

    Raises:
        InvalidData: the file cannot be read.
    """
    with open_input(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line


def parse_json(content: bytes, origin: str) -> Any:
    """Return the value that UTF-8 JSON text means; `origin` is named in errors.

    Raises:
        InvalidData: it is not UTF-8, not JSON, or has a key twice in one object.
    """
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_table)
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"{origin}: byte {error.start + 1} is not UTF-8.", remedy="Save the file as UTF-8."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{origin}: not JSON: {error}.", remedy=_remedy(error)) from error


def parse_object(line: bytes, origin: str) -> dict[str, Any]:
    """Return the object in a line; `origin` is named in errors.

    Raises:
        InvalidData: the line is not UTF-8 or not a JSON object.
    """
    table = parse_json(line, origin)
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


def _packed(file: BinaryIO, path: Path) -> AbstractContextManager[IO[bytes]]:
    if not is_gzip(path):
        return nullcontext(file)
    # A fixed time keeps the bytes a function of the content.
    return cast("IO[bytes]", gzip.GzipFile("", "wb", fileobj=file, mtime=0))


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return table


def _remedy(error: Exception) -> str | None:
    # An unended string is found at its beginning, all else that is missing at the very end.
    is_cut = isinstance(error, json.JSONDecodeError) and (
        error.msg.startswith("Unterminated string") or not error.doc[error.pos :].strip()
    )
    return "It ends in the middle; was it cut off? Fetch or export it again." if is_cut else None


def _encode(table: Mapping[str, Any], origin: str) -> bytes:
    try:
        return json.dumps(table, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise InvalidData(f"{origin}: holds half of a surrogate pair, not text.") from error
