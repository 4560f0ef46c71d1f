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

from descant.evaluation.statistics import (
    FloatArray,
    IntArray,
    Interval,
    acceleration,
    bias_correction,
    bootstrap_values,
)

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
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 14.3 (BCa); Hanley and
        Lippman-Hand, If Nothing Goes Wrong, Is Everything All Right?, 1983, for 3/n.
    """
    value = float(difference(tallies.sum(axis=0)[None])[0]) if len(tallies) else math.nan
    if math.isnan(value):
        return None
    speed = acceleration(tallies, difference)
    sides = [_Imagined.of(tallies, difference, side, speed, seed, resamples) for side in (0, 1)]
    if any(side is None for side in sides):
        return None
    below, above = (side for side in sides if side is not None)
    return NonInferiority(
        value,
        min(value, below.quantile(alpha)),
        max(value, above.quantile(1 - alpha)),
        margin,
        below.share_below(-margin),
        1 - above.share_below(-1e-12),
        below.share_below(0.0),
    )


@dataclass(frozen=True)
class _Imagined:
    """The bootstrap with an imagined conversation, corrected for bias and acceleration."""

    values: FloatArray
    bias: float
    speed: float

    @classmethod
    def of(
        cls,
        tallies: IntArray,
        difference: Callable[[IntArray], FloatArray],
        side: int,
        speed: float,
        seed: int,
        resamples: int,
    ) -> _Imagined | None:
        missing, count = tallies.copy(), len(tallies)
        missing[:, side, ..., -1] = tallies[:, side].sum(axis=-1)
        missing[:, side, ..., :-1] = 0
        values = bootstrap_values(
            tallies, difference, seed=seed, resamples=resamples, imagined=missing
        )
        known = values[~np.isnan(values)]
        # All of them together with the imagined one, in whole numbers.
        whole = tallies.sum(axis=0) * count + missing.sum(axis=0)
        bias = bias_correction(known, float(difference(whole[None])[0])) if len(known) else 0.0
        return cls(known, bias if np.isfinite(bias) else 0.0, speed) if len(known) else None

    def quantile(self, level: float) -> float:
        shifted = self.bias + float(norm.ppf(level))
        corrected = norm.cdf(self.bias + shifted / (1 - self.speed * shifted))
        return float(np.quantile(self.values, corrected))

    def share_below(self, bound: float) -> float:
        """Return the level whose quantile is `bound`; never quite 0 or 1."""
        share = (1 + (self.values <= bound).sum()) / (2 + len(self.values))
        shifted = float(norm.ppf(share)) - self.bias
        return float(norm.cdf(shifted / (1 + self.speed * shifted) - self.bias))
