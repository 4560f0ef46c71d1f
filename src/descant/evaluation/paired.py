"""Two completers on the same conversations: how far apart they are, beyond chance.

Conversations are drawn with everything both said about them, so that what makes a conversation hard
for both does not widen the interval of their difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from descant.evaluation.scorers import tallies_of
from descant.evaluation.statistics import (
    Estimate,
    FloatArray,
    IntArray,
    bootstrap_interval,
    macro_f1,
)
from descant.evaluation.task import Predictions
from descant.schema import Indicator
from descant.schema.errors import InvalidData


@dataclass(frozen=True)
class MeanComparison:
    """The mean macro-F1 of two completers over the indicators, and one against the other."""

    conversations: int
    first: float
    second: float
    difference: Estimate
    """First less second."""
    ratio: Estimate | None
    """First over second; None where the second is 0."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def compare_paired(
    indicators: Sequence[Indicator], first: Predictions, second: Predictions, seed: int = 0
) -> MeanComparison | None:
    """Compare predictions of one task; None of nothing; the seed is the bootstrap's.

    Raises:
        InvalidData: they are not of the same conversations and indicators.
    """
    tallies = _paired_tallies(indicators, first, second)
    if len(tallies) == 0:
        return None
    whole = tallies.sum(axis=0)[None]
    means = _mean_macro_f1s(whole)[0]
    ratio = None if means[1] == 0 else _estimate(tallies, _ratios, float(_ratios(whole)[0]), seed)
    difference = _estimate(tallies, _differences, float(_differences(whole)[0]), seed)
    return MeanComparison(len(tallies), float(means[0]), float(means[1]), difference, ratio)


def _paired_tallies(
    indicators: Sequence[Indicator], first: Predictions, second: Predictions
) -> IntArray:
    """Return a tally for each conversation, ``[N, 2, A, L, L + 1]``, last *unanswered*."""
    row_of: dict[str, int] = {}
    for outcome in first.outcomes:
        row_of.setdefault(outcome.transcript_id, len(row_of))
    most = max(len(indicator.labels) for indicator in indicators)
    tallies = np.zeros((len(row_of), 2, len(indicators), most, most + 1), dtype=np.int64)
    for at, indicator in enumerate(indicators):
        asked = [outcome.transcript_id for outcome in first.of(indicator.name)]
        if [outcome.transcript_id for outcome in second.of(indicator.name)] != asked:
            raise InvalidData(
                f"Two completers were not asked the same about {indicator.name!r}.",
                field="predictions",
                remedy="Run both on the same task.",
            )
        rows, size = [row_of[id] for id in asked], len(indicator.labels)
        for side, predictions in enumerate((first, second)):
            own = tallies_of(indicator, predictions.of(indicator.name))
            tallies[rows, side, at, :size, :size] += own[..., :size]
            tallies[rows, side, at, :size, most] += own[..., size]
    return tallies


def _mean_macro_f1s(tally: IntArray) -> FloatArray:
    """Return ``[B, 2, A, L, L + 1]`` as ``[B, 2]``; indicators that have no score are left out."""
    scores = macro_f1(tally)
    known = ~np.isnan(scores)
    total = np.where(known, scores, 0.0).sum(axis=-1)
    mean: FloatArray = total / np.maximum(known.sum(axis=-1), 1)
    return mean


def _differences(tally: IntArray) -> FloatArray:
    means = _mean_macro_f1s(tally)
    return means[:, 0] - means[:, 1]


def _ratios(tally: IntArray) -> FloatArray:
    means = _mean_macro_f1s(tally)
    ratios: FloatArray = np.full(len(means), np.nan)
    np.divide(means[:, 0], means[:, 1], out=ratios, where=means[:, 1] > 0)
    return ratios


def _estimate(
    tallies: IntArray, statistic: Callable[[IntArray], FloatArray], value: float, seed: int
) -> Estimate:
    interval = bootstrap_interval(tallies, statistic, seed=seed)
    assert interval is not None, "the statistic of the whole is defined"
    return Estimate(value, min(value, interval.low), max(value, interval.high))
