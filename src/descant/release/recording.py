"""Answers given elsewhere or before, read from a file: a completer.

Two forms are read, one JSON object a line: scorecards, as ``descant score --json`` prints them and a
server returns them, and labelled conversations, as ``descant distill`` writes a teacher's answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.data import parse_row, read_objects
from descant.schema import Answer, Indicator, Scorecard, Transcript, Usage, unanswered
from descant.schema.errors import InvalidData

_NOT_RECORDED = "It is not in the recording."


@dataclass(frozen=True)
class Recording:
    """Answers by conversation and indicator; what is not in it is unanswered."""

    identity: str
    """``sha256:…`` of the file."""
    answers: Mapping[str, Mapping[str, Answer]]

    def score(self, transcript: Transcript, indicators: Sequence[Indicator]) -> Scorecard:
        """Return what was recorded of every indicator."""
        known = self.answers.get(transcript.id, {})
        found = (known.get(i.name) or unanswered(i.name, _NOT_RECORDED) for i in indicators)
        return Scorecard(transcript.id, tuple(found), Usage(0, 0, 0.0))


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        InvalidData: the file cannot be read, a line is neither a scorecard nor a labelled
            conversation, or a conversation is in it twice; names file and line.
    """
    answers: dict[str, dict[str, Answer]] = {}
    for number, table in read_objects(path):
        origin = f"{path}, line {number}"
        id, given = _scorecard(table, origin) if "answers" in table else _labelled(table, origin)
        if id in answers:
            raise InvalidData(f"{origin}: conversation {id!r} was answered before.", field="id")
        answers[id] = given
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Recording(f"sha256:{digest}", answers)


def _labelled(table: Mapping[str, Any], origin: str) -> tuple[str, dict[str, Answer]]:
    row = parse_row(table, origin)
    answers = {}
    for name, label in row.labels.items():
        shares = row.probabilities.get(name, {})
        confidence = shares.get(label) if label is not None else None
        answers[name] = (
            unanswered(name, "There is no label for it.")
            if label is None
            else Answer(name, label, shares, confidence, None, source="recording")
        )
    return row.transcript.id, answers


def _scorecard(table: Mapping[str, Any], origin: str) -> tuple[str, dict[str, Answer]]:
    try:
        answers = [_answer(each) for each in table["answers"]]
        return str(table["transcript_id"]), {answer.indicator: answer for answer in answers}
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidData(
            f"{origin}: is not a scorecard.",
            field="answers",
            remedy="Record with: descant score FILE --json",
        ) from error


def _answer(table: Mapping[str, Any]) -> Answer:
    label, reason = table["label"], table["unanswered"]
    shares = {str(name): float(share) for name, share in table["probabilities"].items()}
    if label is None:
        return unanswered(str(table["indicator"]), str(reason))
    confidence = table["confidence"]
    return Answer(
        str(table["indicator"]),
        str(label),
        shares,
        None if confidence is None else float(confidence),
        None,
        source="recording",
    )
