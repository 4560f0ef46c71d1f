"""A TOML file as a frozen dataclass."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from descant.configuration.lines import key_lines
from descant.configuration.record import RecordReader
from descant.schema.errors import InvalidConfig, join_errors

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)

_DATA_SUFFIXES = (".jsonl", ".csv", ".json", ".gz")


def read_toml_record(path: Path, kind: type[Record], noun: str, first: str) -> Record:
    """Read a file; the error lists every mistake in it with line, key and remedy.

    `noun` is what such a file is called; `first` says how to get one, from the data ``{data}``.

    Raises:
        InvalidConfig: the file cannot be read, is not TOML, or a key in it is missing, unknown,
            of the wrong type, out of range, or names a file that is not there.
    """
    text = _read(path, noun, first)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(path, str(error), noun, first) from error
    reader = RecordReader(str(path), key_lines(text), {"folder": path.parent})
    record = reader.read(kind, table)
    if reader.mistakes or record is None:
        raise join_errors(reader.mistakes)
    return record


def _read(path: Path, noun: str, first: str) -> str:
    try:
        # Some editors begin a file with a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidConfig(
            f"{path}: cannot be read: {error.strerror}.",
            field=noun,
            remedy=first.format(data="DATA.jsonl"),
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{path}: is not UTF-8.", field=noun) from error


def _not_toml(path: Path, reason: str, noun: str, first: str) -> InvalidConfig:
    place = re.search(r" \(at line (\d+), column \d+\)", reason)
    origin = f"{path}:{place[1]}" if place else str(path)
    remedy = None
    if path.suffix in _DATA_SUFFIXES:
        remedy = f"A {noun} is a TOML file. {first.format(data=path)}"
    reason = reason.replace(place[0], "") if place else reason
    return InvalidConfig(f"{origin}: not TOML: {reason}.", field=noun, remedy=remedy)
