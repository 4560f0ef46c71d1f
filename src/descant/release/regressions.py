"""What a release would break: conversations that the champion answers rightly and the candidate does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from descant.evaluation import Outcome, Predictions
from descant.schema import LabelledTranscript, Turn


@dataclass(frozen=True)
class Regression:
    """One answer that would become wrong."""

    transcript_id: str
    turns: tuple[Turn, ...]
    """Of the conversation; none where they are not to be shown."""
    indicator: str
    expected: str
    answer: str | None
    confidence: float | None
    """Of the candidate in its wrong answer."""


def find_regressions(
    rows: Sequence[LabelledTranscript], candidate: Predictions, champion: Predictions, count: int
) -> tuple[Regression, ...]:
    """Return the answers of which the candidate is most sure, from different conversations."""
    turns = {row.transcript.id: row.transcript.turns for row in rows}
    pairs = zip(candidate.outcomes, champion.outcomes, strict=True)
    lost = [ours for ours, theirs in pairs if _is_right(theirs) and not _is_right(ours)]
    lost.sort(key=lambda outcome: (-(outcome.answer.confidence or 0.0), outcome.transcript_id))
    first: dict[str, Outcome] = {}
    for outcome in lost:
        first.setdefault(outcome.transcript_id, outcome)
    return tuple(
        Regression(
            id,
            turns[id],
            each.indicator,
            each.expected,
            each.answer.label,
            each.answer.confidence,
        )
        for id, each in list(first.items())[:count]
    )


def _is_right(outcome: Outcome) -> bool:
    return outcome.answer.label == outcome.expected
