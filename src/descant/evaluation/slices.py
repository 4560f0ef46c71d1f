"""Parts of the conversations, and those on which answers are worst.

An average hides a language that is never understood. But of many slices one is bad by chance, so
intervals are widened to hold for all slices at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from descant.evaluation.design_effect import clustered_share
from descant.evaluation.statistics import Estimate
from descant.evaluation.task import Predictions
from descant.schema import LabelledTranscript
from descant.schema.errors import InvalidData

NOT_STATED = "not stated"
Period = Literal["hour", "weekday", "month"]
_PERIODS = {"hour": "%H:00", "weekday": "%a", "month": "%Y-%m"}


@dataclass(frozen=True)
class Slice:
    """Conversations that have something in common."""

    dimension: str
    """Such as ``language``."""
    value: str
    """Such as ``de``."""
    ids: frozenset[str]

    @property
    def name(self) -> str:
        """Dimension and value."""
        return f"{self.dimension} = {self.value}"


@dataclass(frozen=True)
class SliceResult:
    """The share of right answers in one slice."""

    name: str
    conversations: int
    answers: int
    accuracy: Estimate
    """Its interval holds for all slices of the report at once."""
    is_below: bool
    """Whether the whole interval lies below the share of all conversations."""


@dataclass(frozen=True)
class SliceReport:
    """The worst slices, of all there are."""

    overall: float
    tested: int
    worst: tuple[SliceResult, ...]
    """From the worst on."""
    too_small: tuple[str, ...]
    """Slices of which nothing can be said."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        return asdict(self)


def slices_by(
    rows: Sequence[LabelledTranscript],
    dimension: str,
    value_of: Callable[[LabelledTranscript], str],
) -> tuple[Slice, ...]:
    """Return a slice for every value, in order of the values; a language detector is a `value_of`."""
    ids = defaultdict[str, set[str]](set)
    for row in rows:
        ids[value_of(row)].add(row.transcript.id)
    return tuple(Slice(dimension, value, frozenset(ids[value])) for value in sorted(ids))


def slices_by_field(rows: Sequence[LabelledTranscript], field: str) -> tuple[Slice, ...]:
    """Return a slice for every value of a field, such as ``agent`` or ``language``, or of none."""
    return slices_by(rows, field, lambda row: row.fields.get(field, NOT_STATED))


def slices_by_length(rows: Sequence[LabelledTranscript], parts: int = 3) -> tuple[Slice, ...]:
    """Return slices of as many conversations each, as far as may be, by the number of words."""
    counts = {row.transcript.id: _words(row) for row in rows}
    if not counts:
        return ()
    cuts = np.quantile(list(counts.values()), np.linspace(0, 1, parts + 1)[1:-1])
    inner = sorted({int(cut) for cut in cuts})
    ends = [0, *inner, None]
    names = [_range_name(low, high) for low, high in pairwise(ends)]
    place = {id: int(np.searchsorted(inner, count, side="left")) for id, count in counts.items()}
    slices = slices_by(rows, "words", lambda row: names[place[row.transcript.id]])
    return tuple(sorted(slices, key=lambda each: names.index(each.value)))


def slices_by_time(
    rows: Sequence[LabelledTranscript], period: Period = "month", field: str = "time"
) -> tuple[Slice, ...]:
    """Return a slice for every month, weekday or hour of a field that holds an ISO 8601 time.

    Raises:
        InvalidData: the field of a conversation is not such a time.
    """
    return slices_by(rows, period, partial(_period_of, period=period, field=field))


def worst_slices(
    predictions: Predictions,
    slices: Sequence[Slice],
    *,
    worst: int = 3,
    min_support: int = 30,
    alpha: float = 0.05,
) -> SliceReport | None:
    """Return the slices with the lowest share of right answers, unanswered ones being wrong.

    `min_support` is the least number of conversations. Intervals are widened by Bonferroni's factor,
    so that all of them hold at once with 1 - `alpha`, and count a conversation's answers as a cluster.
    None of nothing.

    Source:
        Dunn, Multiple Comparisons Among Means, 1961.
    """
    counts = _counts(predictions)
    if not counts:
        return None
    rights, totals = (sum(column) for column in zip(*counts.values(), strict=True))
    known = {each.name: [counts[id] for id in each.ids if id in counts] for each in slices}
    tested = {name: found for name, found in known.items() if len(found) >= max(min_support, 1)}
    confidence = 1 - alpha / max(len(tested), 1)
    results = [_result(name, found, confidence, rights / totals) for name, found in tested.items()]
    results.sort(key=lambda result: (result.accuracy.value, result.name))
    too_small = tuple(name for name in known if name not in tested)
    return SliceReport(rights / totals, len(tested), tuple(results[:worst]), too_small)


def _result(
    name: str, counts: Sequence[tuple[int, int]], confidence: float, overall: float
) -> SliceResult:
    rights, totals = np.array(counts, dtype=np.int64).T
    share = clustered_share(rights, totals, confidence)
    return SliceResult(name, len(counts), int(totals.sum()), share, share.high < overall)


def _counts(predictions: Predictions) -> dict[str, tuple[int, int]]:
    """Return right answers and all answers by conversation."""
    counts: dict[str, tuple[int, int]] = {}
    for outcome in predictions.outcomes:
        right, total = counts.get(outcome.transcript_id, (0, 0))
        is_right = outcome.answer.label == outcome.expected
        counts[outcome.transcript_id] = (right + is_right, total + 1)
    return counts


def _words(row: LabelledTranscript) -> int:
    return sum(len(turn.text.split()) for turn in row.transcript.turns)


def _range_name(low: int | None, high: int | None) -> str:
    return (
        f"over {low}" if high is None else f"{low} to {high}" if not low else f"{low + 1} to {high}"
    )


def _period_of(row: LabelledTranscript, period: Period, field: str) -> str:
    text = row.fields.get(field)
    if text is None:
        return NOT_STATED
    try:
        return datetime.fromisoformat(text).strftime(_PERIODS[period])
    except ValueError as error:
        raise InvalidData(
            f"Conversation {row.transcript.id!r}: {text!r} is not a time.",
            field=f"fields.{field}",
            remedy="Write it as 2026-03-01T14:30.",
        ) from error
