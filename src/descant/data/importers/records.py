"""The records of a file of many: the lines of JSON lines, or the items of a JSON list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.data.input_file import open_input
from descant.data.json_lines import parse_json, read_values


@dataclass(frozen=True)
class Record:
    """One JSON value."""

    origin: str
    """File and line, or file and item, for errors."""
    number: int
    """Of the line or item, from 1."""
    value: Any


def read_records(path: Path) -> Iterator[Record]:
    """Yield the values of a file: line by line where it is JSON lines, by its name or its look.

    Raises:
        InvalidData: the file cannot be read, is not UTF-8 or not JSON.
    """
    if is_json_lines(path):
        for number, value in read_values(path):
            yield Record(f"{path}, line {number}", number, value)
        return
    with open_input(path) as file:
        document = parse_json(file.read(), str(path))
    if not isinstance(document, list):
        yield Record(str(path), 1, document)
        return
    for number, value in enumerate(document, start=1):
        yield Record(f"{path}, item {number}", number, value)


def is_json_lines(path: Path) -> bool:
    """Say whether a file holds a JSON value a line: many are called ``.json`` all the same."""
    names = path.name.lower().removesuffix(".gz")
    if names.endswith((".jsonl", ".ndjson")):
        return True
    with open_input(path) as file:
        first = file.readline().strip()
        return (
            first.startswith((b"{", b"\xef\xbb\xbf{"))
            and first.endswith(b"}")
            and bool(file.readline().strip())
        )
