"""Intervals for scores on few and uneven rows.

Every score here is a function of a tally: how often each right label met each answer. A bootstrap
over conversations therefore never touches the conversations again: it draws how many of each kind
there are.

Key: ``N`` conversations, ``K`` kinds of them, ``B`` resamples. A tally may have any shape.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Tally = TypeVar("Tally", IntArray, FloatArray)
BootstrapMethod = Literal["percentile", "bca"]

# 32 MB of float64: what sums of some of the resamples may take at once.
_CELLS_AT_ONCE = 1 << 22
# 1 MB of float64, which stays near the processor: conversations drawn at once.
_DRAWS_AT_ONCE = 1 << 17
# Drawing the count of a kind takes about as long as drawing so many conversations.
_MULTINOMIAL_COST = 4


class Interval(NamedTuple):
    """Both ends of a confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    tallies: Tally,
    statistic: Callable[[Tally], FloatArray],
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
    method: BootstrapMethod = "percentile",
) -> Interval | None:
    """Return the bootstrap interval of a statistic, drawing whole conversations.

    `tallies` is ``[N, ...]``, the tally of each conversation (or of each cluster, see
    `cluster_tallies`); `statistic` maps summed tallies ``[B, ...]`` to ``[B]`` and may give NaN where
    it is not defined. Those resamples are left out; None when none is left.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 13.3 (percentile) and 14.3 (BCa,
        equations 14.9 to 14.15).
    """
    if len(tallies) == 0:
        return None
    values = bootstrap_values(tallies, statistic, seed=seed, resamples=resamples)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return None
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "bca":
        tails = _bca_levels(tallies, statistic, values, tails)
    low, high = np.quantile(values, tails)
    return Interval(float(low), float(high))


def bootstrap_values(
    tallies: Tally,
    statistic: Callable[[Tally], FloatArray],
    *,
    seed: int,
    resamples: int = 2000,
    imagined: Tally | None = None,
) -> FloatArray:
    """Return a statistic of resamples of whole conversations, ``[B, ...]``.

    `tallies` is ``[N, ...]``, the tally of each conversation; `statistic` maps summed tallies
    ``[B, ...]``. `imagined` conversations, N of them or a multiple, are drawn along: any N of them as
    often as one real one.
    """
    kinds = _Kinds.of(tallies, imagined)
    generator = np.random.default_rng(seed)
    parts = [
        statistic(kinds.whole_shape(kinds.sums(generator, count), tallies))
        for count in _counts_at_once(resamples, max(1, _CELLS_AT_ONCE // kinds.used.size))
    ]
    return np.concatenate(parts)


def cluster_tallies(tallies: Tally, clusters: Sequence[Hashable]) -> Tally:
    """Return the summed tallies of each cluster, ``[N, ...]`` to ``[C, ...]``, in order of appearance.

    What has one cause (an agent, a customer, a day) is drawn as a whole: rows that share it are not
    as many as they look.

    Source:
        Miller, Adding Error Bars to Evals, 2024, 2.2; Davison and Hinkley, Bootstrap Methods and
        their Application, 1997, 3.8.
    """
    place = {cluster: at for at, cluster in enumerate(dict.fromkeys(clusters))}
    summed = np.zeros((len(place), *tallies.shape[1:]), dtype=tallies.dtype)
    np.add.at(summed, [place[cluster] for cluster in clusters], tallies)
    return summed


def acceleration(tallies: Tally, statistic: Callable[[Tally], FloatArray]) -> float:
    """Return how fast the standard error of a statistic changes with its value, by the jackknife.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, equation 14.15.
    """
    kinds = _Kinds.of(tallies, None)
    whole = tallies.sum(axis=0).reshape(-1)[kinds.used]
    parts = [
        statistic(kinds.whole_shape((whole - rows), tallies))
        for rows in np.array_split(
            kinds.rows, -(-len(kinds.rows) * kinds.used.size // _CELLS_AT_ONCE)
        )
    ]
    left_out = np.concatenate(parts)
    known = ~np.isnan(left_out)
    counts, values = kinds.counts[known], left_out[known]
    if len(values) == 0:
        return 0.0
    gaps = np.average(values, weights=counts) - values
    spread = float((counts * gaps**2).sum())
    return float((counts * gaps**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def bias_correction(values: FloatArray, value: float) -> float:
    """Return how far the median of resamples lies from the score itself, in standard errors.

    Resamples that give the score itself count half on each side. Infinite where all lie on one side.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, equation 14.14.
    """
    below = (values < value).mean() + (values == value).mean() / 2
    return float(norm.ppf(below))


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> Interval | None:
    """Return Wilson's interval of a proportion; None of nothing."""
    if total == 0:
        return None
    found = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


@dataclass(frozen=True)
class _Kinds:
    """Conversations with the same tally are interchangeable: only how many of each kind is drawn.

    Cells that are empty everywhere are left out.
    """

    rows: FloatArray
    """``[K, U]`` of the used cells."""
    used: NDArray[np.bool_]
    kind_of: IntArray
    """``[N + M]``, of the real conversations and the imagined ones behind them."""
    size: int
    """N, as many as are drawn."""

    @classmethod
    def of(cls, tallies: Tally, imagined: Tally | None) -> _Kinds:
        whole = tallies if imagined is None else np.concatenate([tallies, imagined])
        flat = whole.reshape(len(whole), -1)
        used = np.atleast_1d(flat.any(axis=0))
        # One cell at least, so that there is something to draw.
        used[0] = used[0] or not used.any()
        rows, kind_of = np.unique(flat[:, used], axis=0, return_inverse=True)
        return cls(rows.astype(np.float64), used, kind_of.reshape(-1), len(tallies))

    @property
    def are_few(self) -> bool:
        """Whether to draw counts of kinds is quicker than to draw conversations."""
        return len(self.rows) * _MULTINOMIAL_COST < self.size

    @property
    def counts(self) -> FloatArray:
        """Return how many conversations there are of each kind, in units of N tickets."""
        weights = np.where(np.arange(len(self.kind_of)) < self.size, self.size, 1) / self.size
        return np.bincount(self.kind_of, weights, len(self.rows)).astype(np.float64)

    def sums(self, generator: np.random.Generator, resamples: int) -> FloatArray:
        """Return the summed cells of resamples, ``[B, U]``."""
        # Sums of counts stay far below 2^53, so products of floats are exact, and quicker.
        at_once = max(1, _DRAWS_AT_ONCE // (len(self.rows) if self.are_few else self.size))
        sizes = _counts_at_once(resamples, at_once)
        return np.concatenate([self._draw(generator, size) @ self.rows for size in sizes])

    def _draw(self, generator: np.random.Generator, resamples: int) -> FloatArray:
        """Return how many of each kind are in each resample, ``[B, K]``."""
        # The counts of few kinds are multinomial, exactly as if conversations were drawn one by one.
        # Of many kinds that would take longer than drawing them so.
        if self.are_few:
            shares = self.counts / self.counts.sum()
            return generator.multinomial(self.size, shares, size=resamples).astype(np.float64)
        num_imagined = len(self.kind_of) - self.size
        most = self.size + num_imagined // self.size
        drawn = generator.integers(0, most, (resamples, self.size), dtype=np.int32)
        if num_imagined:
            beyond = drawn >= self.size
            drawn[beyond] = self.size + generator.integers(0, num_imagined, beyond.sum())
        places = self.kind_of[drawn] + np.arange(resamples)[:, None] * len(self.rows)
        counts = np.bincount(places.reshape(-1), minlength=resamples * len(self.rows))
        return counts.reshape(resamples, -1).astype(np.float64)

    def whole_shape(self, cells: FloatArray, tallies: Tally) -> Tally:
        whole = np.zeros((len(cells), len(self.used)), dtype=tallies.dtype)
        whole[:, self.used] = cells
        return whole.reshape(len(cells), *tallies.shape[1:])


def _counts_at_once(resamples: int, most: int) -> Iterator[int]:
    for begin in range(0, resamples, most):
        yield min(most, resamples - begin)


def _bca_levels(
    tallies: Tally, statistic: Callable[[Tally], FloatArray], values: FloatArray, tails: FloatArray
) -> FloatArray:
    """Return which quantiles of the resamples bound the interval; the tails where nothing varies."""
    value = float(statistic(tallies.sum(axis=0)[None])[0])
    bias = bias_correction(values, value)
    if not np.isfinite(bias):
        return tails
    shifted = bias + norm.ppf(tails)
    levels: FloatArray = norm.cdf(bias + shifted / (1 - acceleration(tallies, statistic) * shifted))
    return levels
