"""Labelled conversations from a CSV file, in either of the two shapes people export.

With a speaker column each row is one turn, and the rows of a conversation share an id. Without one
each row is a whole conversation whose text has a line ``Speaker: what was said`` for every turn; a
line without a speaker goes on with the turn before it. An empty label cell means no label.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from descant.data.transcripts import build_transcript
from descant.schema import LabelledTranscript, Turn
from descant.schema.errors import DuplicateId, InvalidConfig, InvalidData, InvalidTranscript

# A name of at most three words; what follows the colon keeps times and addresses from being names.
_SPEAKER_LINE = re.compile(
    r"\s*([^\W\d_][\w.'()/-]*(?: [\w.'()/-]+){0,2})\s*[:\uff1a](?!//|\d)\s*(.*)"
)
_UNDECODED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class _Row:
    origin: str
    cells: Mapping[str, str]


def read_csv(
    path: Path,
    *,
    id_column: str,
    text_column: str,
    label_columns: Sequence[str],
    speaker_column: str | None = None,
    delimiter: str = ",",
) -> list[LabelledTranscript]:
    """Read a UTF-8 CSV file with a header; errors name row (the header is 1) and column.

    Raises:
        InvalidData: a column is missing, a cell is empty or not UTF-8, the rows of a conversation
            disagree about a label, or the file is not CSV.
        InvalidTranscript: a conversation has no text, or no speaker in its first line.
        DuplicateId: without a speaker column, two rows have the same id.
        InvalidConfig: the delimiter is not one character.
    """
    if len(delimiter) != 1:
        raise InvalidConfig(f"Delimiter {delimiter!r} is not one character.", field="delimiter")
    needed = [id_column, text_column, *label_columns]
    if speaker_column is not None:
        needed.append(speaker_column)
    rows = _group(_read_rows(path, needed, delimiter), id_column)
    conversations = []
    for transcript_id, group in rows.items():
        if speaker_column is None:
            _check_single(group, id_column)
            turns = _split_text(_cell(group[0], text_column), group[0].origin, text_column)
        else:
            turns = [Turn(_cell(r, speaker_column), _cell(r, text_column)) for r in group]
        transcript = build_transcript(transcript_id, turns, group[0].origin)
        labels = {column: _label(group, column) for column in label_columns}
        conversations.append(LabelledTranscript(transcript, labels))
    return conversations


def _read_rows(path: Path, needed: Sequence[str], delimiter: str) -> Iterator[_Row]:
    try:
        # Bytes that are not UTF-8 are kept as surrogates, so that their row and column can be named.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from _checked_rows(file, path, needed, delimiter)
    except OSError as error:
        raise InvalidData(f"{path}: cannot be read: {error.strerror}.", field="path") from error


def _checked_rows(
    file: TextIO, path: Path, needed: Sequence[str], delimiter: str
) -> Iterator[_Row]:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    try:
        for number, values in enumerate(reader, start=1):
            origin = f"{path}, row {number}"
            if header is None:
                header = _checked_header(values, needed, path)
            elif values:
                yield _checked_row(header, values, origin)
    except csv.Error as error:
        raise InvalidData(f"{path}, line {reader.line_num}: not CSV: {error}.") from error
    if header is None:
        raise InvalidData(f"{path}: is empty.", remedy="The first row must name the columns.")


def _checked_header(values: Sequence[str], needed: Sequence[str], path: Path) -> list[str]:
    header = [value.strip() for value in values]
    for column in needed:
        if header.count(column) != 1:
            problem = "twice" if column in header else "missing"
            raise InvalidData(
                f"{path}, row 1: column {column!r} is {problem}.",
                field=column,
                remedy=f"Columns in the file: {', '.join(header)}.",
            )
    return header


def _checked_row(header: Sequence[str], values: Sequence[str], origin: str) -> _Row:
    if len(values) != len(header):
        raise InvalidData(
            f"{origin}: has {len(values)} cells, the header has {len(header)}.",
            remedy="Put a text that holds the delimiter or a line end in double quotes.",
        )
    for column, value in zip(header, values, strict=True):
        if _UNDECODED.search(value):
            raise InvalidData(
                f"{origin}, column {column!r}: is not UTF-8.",
                field=column,
                remedy="Save the file as UTF-8.",
            )
    return _Row(origin, dict(zip(header, values, strict=True)))


def _group(rows: Iterator[_Row], id_column: str) -> dict[str, list[_Row]]:
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        groups.setdefault(_cell(row, id_column).strip(), []).append(row)
    return groups


def _cell(row: _Row, column: str) -> str:
    value = row.cells[column]
    if not value.strip():
        raise InvalidData(f"{row.origin}, column {column!r}: is empty.", field=column)
    return value


def _check_single(group: Sequence[_Row], id_column: str) -> None:
    if len(group) > 1:
        raise DuplicateId(
            f"{group[1].origin}, column {id_column!r}: {group[1].cells[id_column]!r} was used in "
            f"{group[0].origin.rpartition(', ')[2]}.",
            field=id_column,
            remedy="If each row is one turn, name the speaker column.",
        )


def _split_text(text: str, origin: str, column: str) -> list[Turn]:
    turns: list[tuple[str, list[str]]] = []
    for line in text.strip().splitlines():
        match = _SPEAKER_LINE.fullmatch(line)
        if match:
            turns.append((match[1], [match[2]]))
        elif turns:
            turns[-1][1].append(line)
        else:
            raise InvalidTranscript(
                f"{origin}, column {column!r}: the first line names no speaker.",
                field=column,
                remedy='Write every turn as "Speaker: text", or name a speaker column.',
            )
    return [Turn(speaker, "\n".join(lines).strip()) for speaker, lines in turns]


def _label(group: Sequence[_Row], column: str) -> str | None:
    first: str | None = None
    for row in group:
        label = row.cells[column].strip()
        if first is not None and label and label != first:
            raise InvalidData(
                f"{row.origin}, column {column!r}: {label!r}, but an earlier row of the same "
                f"conversation has {first!r}.",
                field=column,
                remedy="Give every row of a conversation the same label, or only one of them.",
            )
        first = first or label or None
    return first
