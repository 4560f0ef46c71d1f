"""CSV files in UTF-8 with a header: errors name row (the header is 1) and column."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from descant.data.importers.table import Table, TableLayout, TableRow, read_table
from descant.data.input_file import check_decoded, open_text
from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import InvalidConfig, InvalidData

_DELIMITERS = (",", ";", "\t", "|")
_WHOLE_TABLE = TableLayout()


def read_csv(
    path: Path,
    layout: TableLayout = _WHOLE_TABLE,
    indicators: Sequence[Indicator] = (),
    delimiter: str | None = None,
) -> list[LabelledTranscript]:
    """Read the conversations of a CSV file; see `table` for its shapes and errors.

    Raises:
        InvalidData: the file is not CSV or not UTF-8, or the table is wrong.
        InvalidTranscript: a conversation has no text, or no speaker in its first line.
        DuplicateId: without a speaker column, two rows have the same id.
        InvalidConfig: the delimiter is not one character.
    """
    with open_csv(path, layout.id, delimiter) as table:
        return read_table(table, layout, indicators)


@contextmanager
def open_csv(path: Path, id_column: str, delimiter: str | None = None) -> Iterator[Table]:
    """Open a CSV file; without a delimiter it is the one that makes `id_column` a column.

    Raises:
        InvalidData: the file cannot be read, is empty, not CSV or not UTF-8.
        InvalidConfig: the delimiter is not one character.
    """
    if delimiter is not None and len(delimiter) != 1:
        raise InvalidConfig(f"Delimiter {delimiter!r} is not one character.", field="delimiter")
    with open_text(path) as file:
        delimiter = delimiter or _find_delimiter(file.readline(), id_column)
        file.seek(0)
        rows = _numbered(file, path, delimiter)
        header = _header(rows, path)
        yield Table(path, header, f"{path}, row 1", _rows(rows, header, path))


def _find_delimiter(first_line: str, id_column: str) -> str:
    for delimiter in _DELIMITERS:
        names = next(csv.reader([first_line], delimiter=delimiter), [])
        if len(names) > 1 and id_column in [name.strip() for name in names]:
            return delimiter
    return _DELIMITERS[0]


def _numbered(file: TextIO, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        yield from enumerate(reader, start=1)
    except csv.Error as error:
        raise InvalidData(f"{path}, line {reader.line_num}: not CSV: {error}.") from error


def _header(rows: Iterator[tuple[int, list[str]]], path: Path) -> tuple[str, ...]:
    _, names = next(rows, (0, None))
    if names is None:
        raise InvalidData(f"{path}: is empty.", remedy="The first row must name the columns.")
    for name in names:
        check_decoded(name, f"{path}, row 1")
    return tuple(name.strip() for name in names)


def _rows(
    rows: Iterator[tuple[int, list[str]]], header: Sequence[str], path: Path
) -> Iterator[TableRow]:
    for number, values in rows:
        if values:
            yield _row(number, values, header, path)


def _row(number: int, values: Sequence[str], header: Sequence[str], path: Path) -> TableRow:
    origin = f"{path}, row {number}"
    if len(values) != len(header):
        raise InvalidData(
            f"{origin}: has {len(values)} cells, the header has {len(header)}.",
            remedy="Put a text that holds the delimiter or a line end in double quotes.",
        )
    for column, value in zip(header, values, strict=True):
        check_decoded(value, f"{origin}, column {column!r}")
    return TableRow(path, number, dict(zip(header, values, strict=True)))
