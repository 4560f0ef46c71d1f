"""Labels of conversations that lie beside them: a CSV file with an id and a column an indicator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from descant.configuration import did_you_mean
from descant.data.importers.csv_file import open_csv
from descant.data.importers.table import (
    Table,
    TableRow,
    check_column,
    check_label_columns,
    read_label,
)
from descant.schema import Indicator, LabelledTranscript
from descant.schema.errors import DuplicateId, InvalidData


@dataclass(frozen=True)
class LabelFile:
    """The labels of one file."""

    path: Path
    rows: Mapping[str, TableRow]
    """By id of the conversation."""
    labels: Mapping[str, Mapping[str, str | None]]

    def label(self, row: LabelledTranscript) -> LabelledTranscript:
        """Return a conversation with these labels beside those it has.

        Raises:
            InvalidData: it has another label already; names row and column.
        """
        added = self.labels.get(row.transcript.id, {})
        for name, label in added.items():
            old = row.labels.get(name)
            if label is not None and old is not None and label != old:
                raise InvalidData(
                    f"{self.rows[row.transcript.id].origin}, column {name!r}: {label!r}, but the "
                    f"conversation itself comes with {old!r}.",
                    field=name,
                    remedy="Correct one of them, or leave the cell empty.",
                )
        given = {name: label for name, label in added.items() if label is not None}
        return replace(row, labels={**added, **row.labels, **given})


def read_labels(path: Path, indicators: Sequence[Indicator] = ()) -> LabelFile:
    """Read a CSV file whose column ``id`` names conversations; an empty cell means no label.

    With indicators, every other column is one of them, and every label is one of its labels.

    Raises:
        InvalidData: the file is not CSV or not UTF-8, a column or label is unknown, or a column
            is empty; names row and column, and what was probably meant.
        DuplicateId: two rows have the same id.
    """
    with open_csv(path, "id") as table:
        columns = _columns(table, indicators)
        by_name = {indicator.name: indicator for indicator in indicators}
        rows: dict[str, TableRow] = {}
        for row in table.rows:
            _add(row, rows)
    labels = {
        key: {name: read_label([row], name, by_name.get(name)) for name in columns}
        for key, row in rows.items()
    }
    check_label_columns(list(labels.values()), columns, path)
    return LabelFile(path, rows, labels)


def _columns(table: Table, indicators: Sequence[Indicator]) -> list[str]:
    check_column("id", table)
    columns = [name for name in table.header if name != "id"]
    known = [indicator.name for indicator in indicators]
    for name in columns:
        check_column(name, table)
        if known and name not in known:
            raise InvalidData(
                f"{table.header_place}: column {name!r} is not an indicator.",
                field=name,
                remedy=f"{did_you_mean(name, known)} Indicators: {', '.join(known)}.".strip(),
            )
    return columns


def _add(row: TableRow, rows: dict[str, TableRow]) -> None:
    key = row.filled("id").strip()
    if key in rows:
        raise DuplicateId(
            f"{row.origin}, column 'id': {key!r} was used in row {rows[key].number}.",
            field="id",
            remedy="Write all labels of a conversation in one row.",
        )
    rows[key] = row
