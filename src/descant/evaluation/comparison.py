"""Is one completer better than another? Both answered the same conversations, and so they are paired.

What both get right or both get wrong says nothing about which is better; an interval for each, side by
side, would count it as noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from descant.evaluation.measures import macro_f1, ratio
from descant.evaluation.pairing import Pairing, estimate_of, mean_over_indicators
from descant.evaluation.significance import mcnemar_p_value
from descant.evaluation.statistics import Estimate, FloatArray, IntArray, bootstrap_interval
from descant.evaluation.task import Outcome, Predictions
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


def compare_answers(
    indicator: Indicator, one: Sequence[Outcome], other: Sequence[Outcome], seed: int = 0
) -> Comparison:
    """Compare answers to the same questions in the same order; the seed is the bootstrap's.

    Raises:
        InvalidData: they are not of the same conversations.
    """
    sides = (Predictions(indicator.name, tuple(side)) for side in (one, other))
    pairing = Pairing.of((indicator,), *sides)
    split = pairing.split()
    p_value = mcnemar_p_value(split.only_one, split.only_other)
    return Comparison(
        pairing.difference(macro_f1, seed=seed), split.only_one, split.only_other, p_value
    )


def compare_paired(
    indicators: Sequence[Indicator], first: Predictions, second: Predictions, seed: int = 0
) -> MeanComparison | None:
    """Compare predictions of one task; None of nothing; the seed is the bootstrap's.

    Raises:
        InvalidData: they are not of the same conversations and indicators.
    """
    pairing = Pairing.of(indicators, first, second)
    difference = pairing.difference(macro_f1, seed=seed)
    if difference is None:
        return None
    means = pairing.values(macro_f1)
    whole = float(_ratios(pairing.tallies.sum(axis=0)[None])[0])
    interval = bootstrap_interval(pairing.tallies, _ratios, seed=seed)
    return MeanComparison(
        len(pairing), float(means[0]), float(means[1]), difference, estimate_of(whole, interval)
    )


def _ratios(tally: IntArray) -> FloatArray:
    means = mean_over_indicators(tally, macro_f1)
    return ratio(means[:, 0], np.nan_to_num(means[:, 1]))
