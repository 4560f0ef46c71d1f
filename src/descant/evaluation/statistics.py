"""Intervals for scores on few and uneven rows.

Every score here is a function of a tally: how often each right label met each answer. A bootstrap
over conversations therefore never touches the conversations again: it draws how many of each kind
there are.

Key: ``N`` conversations, ``B`` resamples, ``L`` labels. A tally is ``[..., L, L + 1]``, right label
by answer; the last answer is *unanswered*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Tally = TypeVar("Tally", IntArray, FloatArray)


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
    tallies: IntArray,
    statistic: Callable[[IntArray], FloatArray],
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval | None:
    """Return the percentile bootstrap interval of a statistic, drawing whole conversations.

    `tallies` is ``[N, ...]``, the tally of each conversation; `statistic` maps summed tallies
    ``[B, ...]`` to ``[B]`` and may give NaN where it is not defined. Those resamples are left out;
    None when none is left.
    """
    if len(tallies) == 0:
        return None
    values = bootstrap_values(tallies, statistic, seed=seed, resamples=resamples)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


def bootstrap_values(
    tallies: Tally, statistic: Callable[[Tally], FloatArray], *, seed: int, resamples: int = 2000
) -> FloatArray:
    """Return a statistic of resamples of whole conversations, ``[B, ...]``.

    `tallies` is ``[N, ...]``, the tally of each conversation; `statistic` maps summed tallies
    ``[B, ...]``.
    """
    flat = tallies.reshape(len(tallies), -1)
    kinds, counts = np.unique(flat, axis=0, return_counts=True)
    # Conversations with the same tally are interchangeable: the counts of each kind in a resample
    # are multinomial, exactly as if conversations were drawn one by one.
    draws = np.random.default_rng(seed).multinomial(
        len(flat), counts / counts.sum(), size=resamples
    )
    return statistic((draws @ kinds).reshape(resamples, *tallies.shape[1:]))


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> Interval | None:
    """Return Wilson's interval of a proportion; None of nothing."""
    if total == 0:
        return None
    found = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return Interval(float(found.low), float(found.high))


def positive_f1(tally: IntArray, positive: Sequence[int]) -> FloatArray:
    """Return the F1 of the positive labels against the rest, ``[..., L, L + 1]`` to ``[...]``.

    Semantics:
        2·TP / (2·TP + FP + FN); an unanswered positive is a false negative. NaN where nothing is
        positive and nothing is called positive.
    """
    hits = tally[..., positive, :][..., positive].sum(axis=(-2, -1))
    right = tally[..., positive, :].sum(axis=(-2, -1))
    called = tally[..., positive].sum(axis=(-2, -1))
    return _ratio(2 * hits, right + called)


def label_f1s(tally: IntArray) -> FloatArray:
    """Return the F1 of each label, ``[..., L, L + 1]`` to ``[..., L]``; NaN for unseen labels."""
    answered = tally[..., :-1]
    hits = np.diagonal(answered, axis1=-2, axis2=-1)
    return _ratio(2 * hits, tally.sum(axis=-1) + answered.sum(axis=-2))


def macro_f1(tally: IntArray) -> FloatArray:
    """Return the mean F1 of the labels that were right or answered, ``[..., L, L + 1]`` to ``[...]``."""
    f1s = label_f1s(tally)
    seen = ~np.isnan(f1s)
    return _ratio(np.where(seen, f1s, 0.0).sum(axis=-1), seen.sum(axis=-1))


def f1_bounds(tally: IntArray, labels: Sequence[int], confidence: float = 0.95) -> Interval | None:
    """Return an interval of F1 of `labels` against the rest that is honest where all is right.

    F1 = 2·J / (1 + J) with J = TP / (TP + FP + FN), a proportion; so Wilson's interval of J gives
    one of F1. A bootstrap of faultless answers would claim certainty from any number of rows.
    """
    hits = int(tally[labels, :][:, labels].sum())
    union = int(tally[labels, :].sum() + tally[:, labels].sum()) - hits
    found = wilson_interval(hits, union, confidence)
    return found and Interval(*(2 * share / (1 + share) for share in found))


def _ratio(top: NDArray[np.generic], bottom: NDArray[np.generic]) -> FloatArray:
    quotient: FloatArray = np.full(np.shape(top), np.nan)
    np.divide(top, bottom, out=quotient, where=np.asarray(bottom) != 0)
    return quotient
