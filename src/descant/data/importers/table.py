"""Rows of a table turned to conversations, in either of the two shapes people export.

With a speaker column each row is one turn, and the rows of a conversation share an id. Without one
each row is a whole conversation whose text has a line ``Speaker: what was said`` for every turn; a
line without a speaker goes on with the turn before it. An empty label cell means no label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from descant.configuration import did_you_mean
from descant.data.importers.speaker_line import split_speaker
from descant.data.transcripts import build_transcript, check_label
from descant.schema import Indicator, LabelledTranscript, Turn
from descant.schema.errors import DuplicateId, InvalidData, InvalidTranscript

_SPEAKER = "speaker"


@dataclass(frozen=True)
class TableLayout:
    """Which columns hold what."""

    id: str = "id"
    text: str = "text"
    speaker: str | None = None
    """None means the column ``speaker`` if there is one, and whole texts if not."""
    labels: tuple[str, ...] = ()
    """Label columns, beside those that are named as an indicator."""

    def fit(self, table: Table, indicators: Sequence[Indicator]) -> TableLayout:
        """Return this layout with the speaker column and all label columns of a table.

        Raises:
            InvalidData: a column is missing or there twice.
        """
        speaker = self.speaker or (_SPEAKER if _SPEAKER in table.header else None)
        named = [indicator.name for indicator in indicators if indicator.name in table.header]
        labels = (*self.labels, *(name for name in named if name not in self.labels))
        for column in (self.id, self.text, *([speaker] if speaker else []), *labels):
            check_column(column, table)
        return replace(self, speaker=speaker, labels=labels)


@dataclass(frozen=True)
class TableRow:
    """One row: text in every column, empty where there is none."""

    path: Path
    number: int
    """As a person counts who opens the file."""
    cells: Mapping[str, str]

    @property
    def origin(self) -> str:
        """File and row, for errors."""
        return f"{self.path}, row {self.number}"

    def filled(self, column: str) -> str:
        """Return a cell.

        Raises:
            InvalidData: the cell is empty.
        """
        value = self.cells[column]
        if not value.strip():
            raise InvalidData(f"{self.origin}, column {column!r}: is empty.", field=column)
        return value


@dataclass(frozen=True)
class Table:
    """A table that is open: its rows can be read once."""

    path: Path
    header: tuple[str, ...]
    header_place: str
    """Where the columns are named, for errors."""
    rows: Iterator[TableRow]


def check_column(column: str, table: Table) -> None:
    """Refuse a table that has a needed column twice or not at all.

    Raises:
        InvalidData: names the column and those that are there.
    """
    if table.header.count(column) != 1:
        is_there = column in table.header
        meant = "" if is_there else did_you_mean(column, table.header)
        raise InvalidData(
            f"{table.header_place}: column {column!r} is {'twice' if is_there else 'missing'}.",
            field=column,
            remedy=f"{meant} Columns in the file: {', '.join(table.header)}.".strip(),
        )


def read_table(
    table: Table, layout: TableLayout, indicators: Sequence[Indicator]
) -> list[LabelledTranscript]:
    """Return the conversations of a table in the order of their first rows.

    Raises:
        InvalidData: a column is missing, a cell is empty, a label is not one of its indicator's,
            the rows of a conversation disagree about a label, or a label column is empty.
        InvalidTranscript: a conversation has no text, or no speaker in its first line.
        DuplicateId: without a speaker column, two rows have the same id.
    """
    layout = layout.fit(table, indicators)
    groups: dict[str, list[TableRow]] = {}
    for row in table.rows:
        groups.setdefault(row.filled(layout.id).strip(), []).append(row)
    by_name = {indicator.name: indicator for indicator in indicators}
    conversations = []
    for transcript_id, group in groups.items():
        transcript = build_transcript(transcript_id, _turns(group, layout), group[0].origin)
        labels = {name: read_label(group, name, by_name.get(name)) for name in layout.labels}
        conversations.append(LabelledTranscript(transcript, labels))
    check_label_columns([row.labels for row in conversations], layout.labels, table.path)
    return conversations


def read_label(rows: Iterable[TableRow], column: str, indicator: Indicator | None) -> str | None:
    """Return the label that the rows of a conversation agree about, None where all are empty.

    Raises:
        InvalidData: two rows have different labels, or one is not among the indicator's.
    """
    first: str | None = None
    for row in rows:
        label = row.cells[column].strip()
        place = f"{row.origin}, column {column!r}"
        if label and indicator is not None:
            check_label(label, indicator, place)
        if first is not None and label and label != first:
            raise InvalidData(
                f"{place}: {label!r}, but an earlier row of the same conversation has {first!r}.",
                field=column,
                remedy="Give every row of a conversation the same label, or only one of them.",
            )
        first = first or label or None
    return first


def check_label_columns(
    labels: Sequence[Mapping[str, str | None]], columns: Sequence[str], path: Path
) -> None:
    """Refuse a label column without a label in it.

    Raises:
        InvalidData: names the column.
    """
    for column in columns:
        if labels and all(row[column] is None for row in labels):
            raise InvalidData(
                f"{path}: column {column!r} is empty in every row.",
                field=column,
                remedy="Fill it, or leave it out.",
            )


def _turns(group: Sequence[TableRow], layout: TableLayout) -> list[Turn]:
    if layout.speaker is not None:
        return [Turn(row.filled(layout.speaker), row.filled(layout.text)) for row in group]
    _check_single(group, layout.id)
    return _split_text(group[0].filled(layout.text), group[0].origin, layout.text)


def _check_single(group: Sequence[TableRow], id_column: str) -> None:
    if len(group) > 1:
        raise DuplicateId(
            f"{group[1].origin}, column {id_column!r}: {group[1].cells[id_column]!r} was used in "
            f"row {group[0].number}.",
            field=id_column,
            remedy="If each row is one turn, name the speaker column.",
        )


def _split_text(text: str, origin: str, column: str) -> list[Turn]:
    turns: list[tuple[str, list[str]]] = []
    for line in text.strip().splitlines():
        speaker, rest = split_speaker(line)
        if speaker is not None:
            turns.append((speaker, [rest]))
        elif turns:
            turns[-1][1].append(line)
        else:
            raise InvalidTranscript(
                f"{origin}, column {column!r}: the first line names no speaker.",
                field=column,
                remedy='Write every turn as "Speaker: text", or name a speaker column.',
            )
    return [Turn(speaker, "\n".join(lines).strip()) for speaker, lines in turns]
