r"""Descant's own file format: labelled conversations as JSON lines.

One conversation a line, in a file or a ``.gz`` file::

    {"id": "call-1", "turns": [{"speaker": "agent", "text": "Hello"}], "labels": {"greeting": "yes"}}

``labels`` may be left out; a label of null means not applicable or unclear. A teacher's soft labels
and votes stand beside them (see `descant.data.soft_labels`). ``fields`` may hold texts about the
conversation, such as ``{"agent": "17", "language": "de", "time": "2026-03-01"}``. Unknown keys are
errors.
Control characters in speakers and texts are harmless after reading: line ends become ``\n``, tabs
stay, the others are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from descant.configuration import did_you_mean
from descant.data.json_lines import parse_object, read_lines, write_objects
from descant.data.soft_labels import parse_probabilities, parse_weights, soft_label_tables
from descant.schema import Indicator, LabelledTranscript, Transcript, Turn
from descant.schema.errors import (
    DuplicateId,
    InputError,
    InvalidData,
    InvalidTranscript,
    join_errors,
)

_LINE_END = re.compile("\r\n?|\x85|\u2028|\u2029")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_jsonl(path: Path) -> Iterator[LabelledTranscript]:
    """Yield the conversations of a file in order; errors name file, line and field.

    Behind a mistake nothing more is yielded, but the rest of the file is looked through, so that the
    error says all there is to mend.

    Raises:
        InvalidData: the file cannot be read, a line is not a JSON object, or a label is not text.
        InvalidTranscript: a conversation is empty or malformed, or has an unknown key.
        DuplicateId: two conversations have the same id.
    """
    line_of: dict[str, int] = {}
    mistakes: list[InputError] = []
    for number, line in read_lines(path):
        origin = f"{path}, line {number}"
        try:
            row = parse_row(parse_object(line, origin), origin)
            _check_new(row.transcript.id, line_of, origin)
        except InputError as error:
            mistakes.append(error)
            continue
        line_of[row.transcript.id] = number
        if not mistakes:
            yield row
    if mistakes:
        raise join_errors(mistakes)


def write_jsonl(path: Path, rows: Iterable[LabelledTranscript]) -> None:
    """Write conversations; `path` is replaced when all are written, or not at all.

    Raises:
        DuplicateId: two conversations have the same id.
        StorageFull: the disk is full; the old file is as it was.
    """
    write_objects(path, _tables(rows, path))


def parse_row(table: Mapping[str, Any], origin: str) -> LabelledTranscript:
    """Build one labelled conversation from its JSON object; `origin` is named in errors.

    Raises:
        InvalidTranscript: the conversation is empty or malformed, or has an unknown key.
        InvalidData: ``labels`` is not a table of texts and nulls, what stands beside them is not a
            table of numbers, or ``fields`` is not a table of texts.
    """
    _check_keys(table, ("id", "turns", "labels", "probabilities", "weights", "fields"), origin)
    turns = table.get("turns")
    if not isinstance(turns, list):
        raise InvalidTranscript(f"{origin}: turns must be a list.", field="turns")
    parsed = tuple(_parse_turn(turn, f"turns[{at}]", origin) for at, turn in enumerate(turns))
    transcript = build_transcript(_text(table, "id", origin), parsed, origin)
    labels = _parse_labels(table.get("labels", {}), origin)
    return LabelledTranscript(
        transcript,
        labels,
        parse_probabilities(table.get("probabilities", {}), labels, origin),
        parse_weights(table.get("weights", {}), labels, origin),
        _parse_fields(table.get("fields", {}), origin),
    )


def build_transcript(transcript_id: str, turns: Sequence[Turn], origin: str) -> Transcript:
    """Return the conversation with its texts cleaned; `origin` is named in errors.

    Raises:
        InvalidTranscript: the id is empty or holds a control character, or no turn has text.
    """
    if not transcript_id.isprintable():
        raise InvalidTranscript(f"{origin}: id {transcript_id!r} is not printable.", field="id")
    cleaned = tuple(Turn(_clean_speaker(turn.speaker), clean_text(turn.text)) for turn in turns)
    try:
        return Transcript(transcript_id, cleaned)
    except InvalidTranscript as error:
        raise InvalidTranscript(
            f"{origin}: {error.message}", field=error.field, remedy=error.remedy
        ) from error


def clean_text(text: str) -> str:
    r"""Return `text` with every line end as ``\n`` and no control character but it and tab."""
    return _CONTROL.sub("", _LINE_END.sub("\n", text))


def validate_labels(rows: Iterable[LabelledTranscript], indicators: Sequence[Indicator]) -> None:
    """Check every label of these indicators, soft ones too; those of other names are left alone.

    Raises:
        InvalidData: names conversations, indicators and the allowed labels.
    """
    mistakes: list[InputError] = []
    for row in rows:
        for indicator in indicators:
            label = row.labels.get(indicator.name)
            named = [] if label is None else [label]
            for name in (*named, *row.probabilities.get(indicator.name, ())):
                try:
                    check_label(name, indicator, f"Conversation {row.transcript.id!r}")
                except InvalidData as error:
                    mistakes.append(error)
    if mistakes:
        raise join_errors(mistakes)


def check_label(label: str, indicator: Indicator, origin: str) -> None:
    """Check one label; `origin` is named in the error.

    Raises:
        InvalidData: names indicator, the allowed labels and the one that was probably meant.
    """
    if indicator.is_text:
        _check_written(label, indicator, origin)
    elif label not in indicator.labels:
        allowed = ", ".join(map(repr, indicator.labels))
        raise InvalidData(
            f"{origin}: {label!r} is not a label of {indicator.name!r}.",
            field=f"labels.{indicator.name}",
            remedy=f"{did_you_mean(label, indicator.labels)} Use one of {allowed}, or none.".strip(),
        )


def _check_written(text: str, indicator: Indicator, origin: str) -> None:
    if text != " ".join(text.split()) or not text:
        raise InvalidData(
            f"{origin}: the text for {indicator.name!r} is empty, or has line ends or spaces in a row.",
            field=f"labels.{indicator.name}",
            remedy="Write it as one line, or null where there is no answer.",
        )


def _parse_turn(turn: object, field: str, origin: str) -> Turn:
    if not isinstance(turn, dict):
        raise InvalidTranscript(f"{origin}: {field} must be an object.", field=field)
    place = f"{origin}, {field}"
    _check_keys(turn, ("speaker", "text"), place)
    return Turn(_text(turn, "speaker", place), _text(turn, "text", place))


def _parse_labels(labels: object, origin: str) -> dict[str, str | None]:
    if not isinstance(labels, dict):
        raise InvalidData(f"{origin}: labels must be an object.", field="labels")
    for name, label in labels.items():
        if label is not None and (not isinstance(label, str) or _SURROGATE.search(label)):
            raise InvalidData(
                f"{origin}: label of {name!r} must be a text or null, not {label!r}.",
                field=f"labels.{name}",
            )
    return labels


def _parse_fields(fields: object, origin: str) -> dict[str, str]:
    if not isinstance(fields, dict):
        raise InvalidData(f"{origin}: fields must be an object.", field="fields")
    for name, value in fields.items():
        if not isinstance(value, str) or _SURROGATE.search(value):
            raise InvalidData(
                f"{origin}: field {name!r} must be a text, not {value!r}.", field=f"fields.{name}"
            )
    return {name: clean_text(value) for name, value in fields.items()}


def _check_keys(table: Mapping[str, Any], known: Sequence[str], origin: str) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise InvalidTranscript(
            f"{origin}: unknown key {unknown[0]!r}.",
            field=unknown[0],
            remedy=f"Known keys: {', '.join(known)}.",
        )


def _text(table: Mapping[str, Any], key: str, origin: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        reason = "is missing" if key not in table else "must be a text"
        raise InvalidTranscript(f"{origin}: {key} {reason}.", field=key)
    if _SURROGATE.search(value):
        raise InvalidTranscript(f"{origin}: {key} holds half of a surrogate pair.", field=key)
    return value


def _clean_speaker(speaker: str) -> str:
    return " ".join(clean_text(speaker).split())


def _check_new(transcript_id: str, line_of: Mapping[str, int], origin: str) -> None:
    if transcript_id in line_of:
        raise DuplicateId(
            f"{origin}: id {transcript_id!r} was used in line {line_of[transcript_id]}.",
            field="id",
            remedy="Give every conversation its own id.",
        )


def _tables(rows: Iterable[LabelledTranscript], path: Path) -> Iterator[dict[str, Any]]:
    line_of: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        _check_new(row.transcript.id, line_of, f"{path}, line {number}")
        line_of[row.transcript.id] = number
        turns = [{"speaker": turn.speaker, "text": turn.text} for turn in row.transcript.turns]
        table: dict[str, Any] = {"id": row.transcript.id, "turns": turns}
        fields = {"fields": dict(row.fields)} if row.fields else {}
        yield {**table, "labels": dict(row.labels), **soft_label_tables(row), **fields}
