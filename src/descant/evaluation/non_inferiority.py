"""Is the new one not worse by more than a margin? Failing to find a difference does not say so.

The claim is made only where the lower confidence bound of new less old lies above ``-margin``.

Key: ``N`` conversations, ``B`` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from descant.evaluation.statistics import FloatArray, IntArray, Interval, bootstrap_values

_ALL = 1 - 1e-9


@dataclass(frozen=True)
class NonInferiority:
    """New less old, and whether it is above ``-margin`` beyond doubt."""

    value: float
    low: float
    """The lower bound: above it with confidence 1 - alpha."""
    high: float
    """The upper bound: below it with confidence 1 - alpha."""
    margin: float
    p_value: float
    """How likely a result at least as good is where the new one is worse by the margin."""
    worse_p_value: float
    """How likely a result at least as bad is where the new one is as good as the old."""
    better_p_value: float
    """How likely a result at least as good is where the new one is as good as the old."""

    @property
    def is_shown(self) -> bool:
        """Whether the new one is shown not to be worse by the margin."""
        return self.low > -self.margin


def proportion_non_inferiority(
    wins: float, losses: float, total: float, margin: float, alpha: float = 0.05
) -> NonInferiority:
    """Return the score test of paired proportions: `wins` only the new one had right, of `total`.

    Source:
        Tango, Equivalence Test and Confidence Interval for the Difference in Proportions for the
        Paired-Sample Design, 1998.
    """
    low, high = tango_interval(wins, losses, total, 1 - 2 * alpha)
    p_value = float(norm.sf(tango_score(wins, losses, total, -margin)))
    worse, better = norm.cdf([1, -1] * np.full(2, tango_score(wins, losses, total, 0.0)))
    value = (wins - losses) / total
    return NonInferiority(value, low, high, margin, p_value, float(worse), float(better))


def tango_score(wins: float, losses: float, total: float, difference: float) -> float:
    """Return how many standard errors the observed difference lies above a supposed one.

    Source:
        Tango, 1998, the efficient score under the supposed difference.
    """
    linear = (2 * total - wins + losses) * difference - wins - losses
    constant = -losses * difference * (1 - difference)
    root = math.sqrt(max(linear**2 - 8 * total * constant, 0.0))
    share = (root - linear) / (4 * total)
    variance = total * (2 * share + difference * (1 - difference))
    above = wins - losses - total * difference
    return 0.0 if variance <= 0 or above == 0 else above / math.sqrt(variance)


def tango_interval(wins: float, losses: float, total: float, confidence: float = 0.95) -> Interval:
    """Return the differences of paired proportions that the score test does not refuse."""
    bound = float(norm.ppf((1 + confidence) / 2))
    value = (wins - losses) / total

    def beyond(sign: float) -> Callable[[float], float]:
        return lambda supposed: tango_score(wins, losses, total, supposed) - sign * bound

    # At the very ends nothing can vary and the score is not defined.
    low = -1.0 if value <= -_ALL else brentq(beyond(1), -_ALL, value)
    high = 1.0 if value >= _ALL else brentq(beyond(-1), value, _ALL)
    return Interval(float(low), float(high))


def non_inferiority(
    tallies: IntArray,
    difference: Callable[[IntArray], FloatArray],
    margin: float,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    resamples: int = 2000,
) -> NonInferiority | None:
    """Return the bootstrap test of any paired difference; None where it is not defined.

    `tallies` is ``[N, 2, ..., L, L + 1]``, the new one first; `difference` maps their sums to ``[B]``.
    One imagined conversation, like those there are but with every answer of the new one missing, is
    added before drawing (for the upper bound, of the old one). Without it ten conversations on which
    the two never differ would be proof; with it n of them leave room for 3/n, as they should.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 13.3; Hanley and Lippman-Hand,
        If Nothing Goes Wrong, Is Everything All Right?, 1983, for 3/n.
    """
    value = float(difference(tallies.sum(axis=0)[None])[0]) if len(tallies) else math.nan
    if math.isnan(value):
        return None
    below, above = (_imagined_values(tallies, difference, side, seed, resamples) for side in (0, 1))
    if len(below) == 0 or len(above) == 0:
        return None
    return NonInferiority(
        value,
        min(value, float(np.quantile(below, alpha))),
        max(value, float(np.quantile(above, 1 - alpha))),
        margin,
        float((1 + (below <= -margin).sum()) / (1 + len(below))),
        float((1 + (above >= 0).sum()) / (1 + len(above))),
        float((1 + (below <= 0).sum()) / (1 + len(below))),
    )


def _imagined_values(
    tallies: IntArray,
    difference: Callable[[IntArray], FloatArray],
    side: int,
    seed: int,
    resamples: int,
) -> FloatArray:
    missing = tallies.copy()
    missing[:, side, ..., -1] = tallies[:, side].sum(axis=-1)
    missing[:, side, ..., :-1] = 0
    count = len(tallies)
    weights = np.concatenate([np.ones(count), np.full(count, 1 / count)])
    values = bootstrap_values(
        np.concatenate([tallies, missing]),
        difference,
        seed=seed,
        resamples=resamples,
        weights=weights,
        size=count,
    )
    known: FloatArray = values[~np.isnan(values)]
    return known
