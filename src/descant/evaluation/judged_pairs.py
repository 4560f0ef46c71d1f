"""Two texts, and which of them a judge prefers: asked twice, the places changed.

A judge tends to prefer a place, so that one verdict says little. One that changes with the order is a
tie, and counted; a pair that the judge gave no verdict about has none, and is counted too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from descant.evaluation.agreement import kappa_of
from descant.evaluation.row_scores import Unscored
from descant.evaluation.statistics import Estimate, IntArray
from descant.schema.errors import InvalidData

PairLabel = Literal["first", "tie", "second"]
PAIR_LABELS: tuple[PairLabel, ...] = ("first", "tie", "second")
_TURNED: dict[PairLabel, PairLabel] = {"first": "second", "tie": "tie", "second": "first"}


@dataclass(frozen=True)
class JudgedPair:
    """What a judge said of two texts."""

    as_given: PairLabel | None
    """With the first in the first place."""
    swapped: PairLabel | None
    """With the first in the second place, and as it was said: ``first`` is the place."""
    reason: str = ""
    """Why one of the two is None."""

    @property
    def verdict(self) -> PairLabel | Unscored:
        """Which text is better, whatever its place; a tie where that depends on the place."""
        if self.as_given is None or self.swapped is None:
            return Unscored(self.reason or "no verdict")
        return self.as_given if self.as_given == _TURNED[self.swapped] else "tie"

    @property
    def depends_on_order(self) -> bool:
        """Whether the verdict changed with the places."""
        is_judged = self.as_given is not None and self.swapped is not None
        return is_judged and self.as_given != _TURNED[self.swapped or "tie"]


@dataclass(frozen=True)
class PairTally:
    """Pairs by what became of them, the candidate's text being the first."""

    wins: int
    losses: int
    ties: int
    depends_on_order: int
    """Of the ties, those where the two orders disagree."""
    unjudged: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Unjudged pairs by why."""

    @classmethod
    def of(cls, pairs: Sequence[JudgedPair]) -> PairTally:
        """Count pairs."""
        verdicts = [pair.verdict for pair in pairs]
        counts = Counter(each for each in verdicts if not isinstance(each, Unscored))
        reasons = Counter(each.reason for each in verdicts if isinstance(each, Unscored))
        changing = sum(pair.depends_on_order for pair in pairs)
        sides = (counts["first"], counts["second"], counts["tie"])
        return cls(*sides, changing, reasons.total(), dict(reasons.most_common()))

    @property
    def judged(self) -> int:
        """All with a verdict."""
        return self.wins + self.losses + self.ties

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


@dataclass(frozen=True)
class JudgeAgreement:
    """A judge's verdicts beside those of people, on the same pairs."""

    pairs: int
    agreed: float
    """The share with the same verdict; a pair without a verdict is none."""
    kappa: Estimate | None
    """Cohen's; None where chance alone would agree wholly."""
    lower_bound: float | None
    """Of kappa with one imagined pair more on which they differ: that they never differed on a few
    pairs does not show that they never will."""
    depends_on_order: int
    unjudged: int

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def judge_agreement(
    people: Sequence[PairLabel], judged: Sequence[JudgedPair]
) -> JudgeAgreement | None:
    """Compare a judge with people; a pair that it did not judge counts as a disagreement.

    None of nothing.

    Raises:
        InvalidData: there are not as many verdicts of one as of the others.
    """
    if len(people) != len(judged):
        raise InvalidData(f"{len(judged)} pairs judged of {len(people)}.", field="pairs")
    if not people:
        return None
    table = _table(people, judged)
    kappa = kappa_of(table)
    tally = PairTally.of(judged)
    return JudgeAgreement(
        len(people),
        float(np.trace(table) / len(people)),
        kappa,
        None if kappa is None else _careful_bound(table, kappa),
        tally.depends_on_order,
        tally.unjudged,
    )


def _table(people: Sequence[PairLabel], judged: Sequence[JudgedPair]) -> IntArray:
    """Return people's verdicts by the judge's, ``[4, 4]``; the last is *unjudged*."""
    index = {label: at for at, label in enumerate(PAIR_LABELS)}
    table = np.zeros((len(index) + 1, len(index) + 1), dtype=np.int64)
    for label, pair in zip(people, judged, strict=True):
        verdict = pair.verdict
        at = len(index) if isinstance(verdict, Unscored) else index[verdict]
        table[index[label], at] += 1
    return table


def _careful_bound(table: IntArray, kappa: Estimate) -> float:
    imagined = table.copy()
    usual = int(table.sum(axis=1).argmax())
    other = (usual + 1) % len(PAIR_LABELS)
    imagined[usual, other] += 1
    careful = kappa_of(imagined)
    return min(kappa.low, kappa.low if careful is None else careful.low)
