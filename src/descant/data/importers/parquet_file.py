"""Parquet files, through pyarrow, an optional dependency: the same two shapes as in CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from descant.data.importers.table import Table, TableLayout, TableRow, read_table
from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import InvalidData, MissingDependency, WrongFormat

_WHOLE_TABLE = TableLayout()


def read_parquet(
    path: Path, layout: TableLayout = _WHOLE_TABLE, indicators: Sequence[Indicator] = ()
) -> list[LabelledTranscript]:
    """Read the conversations of a Parquet file; columns are text, ids and labels also whole numbers.

    Raises:
        MissingDependency: pyarrow is not installed.
        WrongFormat: the file is not Parquet.
        InvalidData: a column is of another type, or the table is wrong; names row, from 1, and
            column.
        InvalidTranscript: a conversation has no text, or no speaker in its first line.
        DuplicateId: without a speaker column, two rows have the same id.
    """
    arrow, parquet = _import_pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
            layout = layout.fit(Table(path, names, str(path), iter(())), indicators)
            needed = _needed(layout)
            for name in needed:
                _check_type(arrow, file.schema_arrow.field(name), name == layout.text, path)
            rows = _rows(file, needed, path)
            return read_table(Table(path, names, str(path), rows), layout, indicators)
    except UnicodeDecodeError as error:
        raise InvalidData(f"{path}: holds text that is not UTF-8.") from error
    except arrow.ArrowInvalid as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise WrongFormat(f"{path}: not Parquet: {reason}.", field="format") from error
    except OSError as error:
        raise InvalidData(f"{path}: cannot be read: {error.strerror}.", field="path") from error


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "Parquet files are read by pyarrow, which is not installed.",
            remedy="Install it: pip install 'descant[parquet]'",
        ) from error
    return pyarrow, pyarrow.parquet


def _needed(layout: TableLayout) -> list[str]:
    speaker = [] if layout.speaker is None else [layout.speaker]
    return [layout.id, layout.text, *speaker, *layout.labels]


def _check_type(arrow: Any, field: Any, is_text: bool, path: Path) -> None:
    kind = field.type.value_type if arrow.types.is_dictionary(field.type) else field.type
    types = arrow.types
    is_string = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    # A column of nulls is refused where its cells are, or as an empty label column.
    fits = is_string or types.is_null(kind) or (types.is_integer(kind) and not is_text)
    if not fits:
        raise InvalidData(
            f"{path}, column {field.name!r}: is of type {field.type}, not text.",
            field=field.name,
            remedy="Write the column as text; labels as the indicator spells them.",
        )


def _rows(file: Any, columns: Sequence[str], path: Path) -> Iterator[TableRow]:
    number = 0
    for batch in file.iter_batches(columns=list(columns)):
        for row in batch.to_pylist():
            number += 1
            cells = {name: "" if row[name] is None else str(row[name]) for name in columns}
            yield TableRow(path, number, cells)
