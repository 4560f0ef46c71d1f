"""Examples that must never break: whatever the average says, these answers have to be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from descant.evaluation.task import Predictions


@dataclass(frozen=True)
class ProtectedExample:
    """One answer that has to be right."""

    transcript_id: str
    indicator: str
    expected: str


@dataclass(frozen=True)
class Breakage:
    """One that is not."""

    example: ProtectedExample
    answer: str | None
    reason: str
    """Why there is no answer, or that it is another one."""


def find_breakages(
    predictions: Predictions, examples: Sequence[ProtectedExample]
) -> tuple[Breakage, ...]:
    """Return the examples that are not answered as they must be; one that was not asked is broken."""
    answers = {(o.transcript_id, o.indicator): o.answer for o in predictions.outcomes}
    broken = []
    for example in examples:
        answer = answers.get((example.transcript_id, example.indicator))
        if answer is None:
            broken.append(Breakage(example, None, "was not asked"))
        elif answer.label is None:
            broken.append(Breakage(example, None, answer.unanswered or "no answer"))
        elif answer.label != example.expected:
            reason = f"{answer.label!r} in the place of {example.expected!r}"
            broken.append(Breakage(example, answer.label, reason))
    return tuple(broken)
