"""From what a teacher said, once or several times, to one label and how sure it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from descant.distillation.teacher import Opinion
from descant.schema import LabelledTranscript


@dataclass(frozen=True)
class Verdict:
    """What becomes of one indicator of one conversation."""

    label: str | None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    weight: float | None = None
    """The share of votes for the label; None where it was asked once."""
    unanswered: str | None = None
    """Why there is no label."""


def count_votes(opinions: Sequence[Opinion]) -> Verdict:
    """Return the label with the most votes; an even vote has none, whatever was said first."""
    if len(opinions) == 1:
        [opinion] = opinions
        return Verdict(opinion.label, opinion.probabilities, None, opinion.unanswered)
    counts = Counter(opinion.label for opinion in opinions if opinion.label is not None)
    if not counts:
        return Verdict(None, unanswered=opinions[0].unanswered)
    [(label, most), *others] = counts.most_common()
    if others and others[0][1] == most:
        return Verdict(None, unanswered=f"The votes are even: {most} for each of several labels.")
    return Verdict(label, weight=most / len(opinions))


def with_verdicts(
    row: LabelledTranscript, verdicts: Mapping[str, Verdict | None]
) -> LabelledTranscript:
    """Return a conversation with these labels in the place of its own; None is not labelled yet.

    Labels of other indicators stay; of those named, nothing that was there before does.
    """
    known = {name: verdict for name, verdict in verdicts.items() if verdict is not None}
    probabilities = {name: v.probabilities for name, v in known.items() if v.probabilities}
    weights = {name: v.weight for name, v in known.items() if v.label and v.weight is not None}
    return LabelledTranscript(
        row.transcript,
        _others(row.labels, verdicts) | {name: verdict.label for name, verdict in known.items()},
        _others(row.probabilities, verdicts) | probabilities,
        _others(row.weights, verdicts) | weights,
        row.fields,
    )


T = TypeVar("T")


def _others(table: Mapping[str, T], named: Mapping[str, object]) -> dict[str, T]:
    return {name: value for name, value in table.items() if name not in named}
