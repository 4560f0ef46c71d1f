"""Is one completer better than another? Both answered the same conversations, and so they are paired.

What both get right or both get wrong says nothing about which is better; an interval for each, side by
side, would count it as noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from descant.evaluation.scorers import tallies_of
from descant.evaluation.statistics import (
    Estimate,
    FloatArray,
    IntArray,
    bootstrap_interval,
    macro_f1,
)
from descant.evaluation.task import Outcome
from descant.schema import Indicator


@dataclass(frozen=True)
class Comparison:
    """One completer against another on one indicator."""

    gain: Estimate | None
    """Macro-F1 of the one less that of the other; None of nothing."""
    only_one_right: int
    """Conversations that the one answered right and the other did not."""
    only_other_right: int
    p_value: float
    """How likely as uneven a split of those is between equals, see `mcnemar_p_value`."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def compare_answers(
    indicator: Indicator, one: Sequence[Outcome], other: Sequence[Outcome], seed: int = 0
) -> Comparison:
    """Compare answers to the same questions in the same order; the seed is the bootstrap's."""
    is_right = [
        [outcome.answer.label == outcome.expected for outcome in side] for side in (one, other)
    ]
    pairs = list(zip(*is_right, strict=True))
    only_one, only_other = pairs.count((True, False)), pairs.count((False, True))
    tallies = np.stack([tallies_of(indicator, side) for side in (one, other)], axis=1)
    return Comparison(
        _gain_estimate(tallies, seed), only_one, only_other, mcnemar_p_value(only_one, only_other)
    )


def mcnemar_p_value(only_one_right: int, only_other_right: int) -> float:
    """Return the two-sided p-value of McNemar's exact test; 1 where the two never differ.

    Source:
        McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions or
        Percentages, 1947; in its exact form a sign test of the conversations that differ.
    """
    differing = only_one_right + only_other_right
    return float(binomtest(only_one_right, differing).pvalue) if differing else 1.0


def holm_p_values(p_values: Sequence[float]) -> list[float]:
    """Return p-values for many questions asked at once, in the same order.

    Source:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values)[order] * factors)
    return [float(value) for value in np.minimum(adjusted, 1.0)]


def _gain_estimate(tallies: IntArray, seed: int) -> Estimate | None:
    found = bootstrap_interval(tallies, _gain, seed=seed)
    if found is None:
        return None
    value = float(_gain(tallies.sum(axis=0)))
    return Estimate(value, min(value, found.low), max(value, found.high))


def _gain(tally: IntArray) -> FloatArray:
    """Return the gain in macro-F1, ``[..., 2, L, L + 1]`` to ``[...]``."""
    scores = macro_f1(tally)
    return np.asarray(scores[..., 0] - scores[..., 1])
