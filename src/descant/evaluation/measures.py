"""Measures: what a tally of right labels and answers amounts to.

Each maps many tallies at once, ``[..., L, L + 1]`` to ``[...]``, so that one bootstrap serves any of
them; NaN where a measure is not defined. An unanswered row is missed for its right label and wrong in
the accuracy; where only a distance between labels counts (kappa, mean absolute error) it has none and
is left out, and `answered_share` says how many are.

Key: ``L`` labels. A tally is ``[..., L, L + 1]``, right label by answer; the last answer is
*unanswered*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from descant.evaluation.statistics import FloatArray, IntArray, Interval, wilson_interval

Measure = Callable[[IntArray], FloatArray]


def positive_f1(tally: IntArray, positive: Sequence[int]) -> FloatArray:
    """Return the F1 of the positive labels against the rest.

    Semantics:
        2·TP / (2·TP + FP + FN); an unanswered positive is a false negative. NaN where nothing is
        positive and nothing is called positive.
    """
    hits = tally[..., positive, :][..., positive].sum(axis=(-2, -1))
    right = tally[..., positive, :].sum(axis=(-2, -1))
    called = tally[..., positive].sum(axis=(-2, -1))
    return ratio(2 * hits, right + called)


def label_precisions(tally: IntArray) -> FloatArray:
    """Return the precision of each label, ``[..., L]``; NaN for labels never answered."""
    return ratio(_hits(tally), tally[..., :-1].sum(axis=-2))


def label_recalls(tally: IntArray) -> FloatArray:
    """Return the recall of each label, ``[..., L]``; NaN for labels never right."""
    return ratio(_hits(tally), tally.sum(axis=-1))


def label_f1s(tally: IntArray) -> FloatArray:
    """Return the F1 of each label, ``[..., L, L + 1]`` to ``[..., L]``; NaN for unseen labels."""
    return ratio(2 * _hits(tally), tally.sum(axis=-1) + tally[..., :-1].sum(axis=-2))


def macro_f1(tally: IntArray) -> FloatArray:
    """Return the mean F1 of the labels that were right or answered."""
    return known_mean(label_f1s(tally))


def macro_precision(tally: IntArray) -> FloatArray:
    """Return the mean precision of the labels that were right or answered; 0 if never answered."""
    return known_mean(_zero_if_seen(label_precisions(tally), tally))


def macro_recall(tally: IntArray) -> FloatArray:
    """Return the mean recall of the labels that were right or answered; 0 if never right."""
    return known_mean(_zero_if_seen(label_recalls(tally), tally))


def micro_f1(tally: IntArray) -> FloatArray:
    """Return the F1 of all labels pooled: right answers over the mean of rows and answers."""
    return ratio(2 * _hits(tally).sum(axis=-1), _rows(tally) + _answered(tally))


def micro_precision(tally: IntArray) -> FloatArray:
    """Return the share of the answers that are right; NaN without an answer."""
    return ratio(_hits(tally).sum(axis=-1), _answered(tally))


def accuracy(tally: IntArray) -> FloatArray:
    """Return the share of the rows that are answered rightly (micro recall)."""
    return ratio(_hits(tally).sum(axis=-1), _rows(tally))


def balanced_accuracy(tally: IntArray) -> FloatArray:
    """Return the mean recall of the labels that were right."""
    return known_mean(label_recalls(tally))


def answered_share(tally: IntArray) -> FloatArray:
    """Return the share of the rows that have an answer."""
    return ratio(_answered(tally), _rows(tally))


def matthews_correlation(tally: IntArray) -> FloatArray:
    """Return Matthews' correlation of right labels and answers, *unanswered* being one more answer.

    NaN where all right labels, or all answers, are the same.

    Source:
        Gorodkin, Comparing Two K-Category Assignments by a K-Category Correlation Coefficient, 2004.
    """
    rows = np.asarray(_rows(tally), dtype=np.float64)
    right, called = tally.sum(axis=-1) * 1.0, tally.sum(axis=-2) * 1.0
    agreed = rows * _hits(tally).sum(axis=-1) - (right * called[..., :-1]).sum(axis=-1)
    spread = (rows**2 - (right**2).sum(axis=-1)) * (rows**2 - (called**2).sum(axis=-1))
    return ratio(agreed, np.sqrt(spread))


def weighted_kappa(tally: IntArray, power: int = 2) -> FloatArray:
    """Return Cohen's kappa of the answered rows, disagreements weighed by distance to a power.

    1 is linear, 2 quadratic weights, 0 plain kappa. NaN where chance alone would agree wholly.

    Source:
        Cohen, Weighted Kappa: Nominal Scale Agreement with Provision for Scaled Disagreement or
        Partial Credit, 1968.
    """
    seen = tally[..., :-1] * 1.0
    weights = _distances(seen.shape[-1], power)
    chance = seen.sum(axis=-1)[..., :, None] * seen.sum(axis=-2)[..., None, :]
    found = seen.sum(axis=(-2, -1)) * (weights * seen).sum(axis=(-2, -1))
    quotient = ratio(found, (weights * chance).sum(axis=(-2, -1)))
    return 1 - quotient


def mean_absolute_error(tally: IntArray) -> FloatArray:
    """Return how many labels apart the answer is on average, of the answered rows; less is better."""
    seen = tally[..., :-1]
    return ratio((_distances(seen.shape[-1], 1) * seen).sum(axis=(-2, -1)), seen.sum(axis=(-2, -1)))


MEASURES: Mapping[str, Measure] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "macro_precision": macro_precision,
    "macro_recall": macro_recall,
    "micro_f1": micro_f1,
    "micro_precision": micro_precision,
    "mcc": matthews_correlation,
    "answered_share": answered_share,
}
"""Of every indicator; more is better in all of them."""

ORDINAL_MEASURES: Mapping[str, Measure] = {
    "quadratic_kappa": weighted_kappa,
    "mean_absolute_error": mean_absolute_error,
}
"""Of an ordinal indicator beside these."""


def f1_bounds(tally: IntArray, labels: Sequence[int], confidence: float = 0.95) -> Interval | None:
    """Return an interval of F1 of `labels` against the rest that is honest where all is right.

    F1 = 2·J / (1 + J) with J = TP / (TP + FP + FN), a proportion; so Wilson's interval of J gives
    one of F1. A bootstrap of faultless answers would claim certainty from any number of rows.
    """
    hits = int(tally[labels, :][:, labels].sum())
    union = int(tally[labels, :].sum() + tally[:, labels].sum()) - hits
    found = wilson_interval(hits, union, confidence)
    return found and Interval(*(2 * share / (1 + share) for share in found))


def known_mean(values: FloatArray) -> FloatArray:
    """Return the mean over the last dimension of what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))


def ratio(top: NDArray[np.generic], bottom: NDArray[np.generic]) -> FloatArray:
    """Return a quotient that is NaN where it would divide by 0."""
    quotient: FloatArray = np.full(np.shape(top), np.nan)
    np.divide(top, bottom, out=quotient, where=np.asarray(bottom) != 0)
    return quotient


def _hits(tally: IntArray) -> IntArray:
    hits: IntArray = np.diagonal(tally[..., :-1], axis1=-2, axis2=-1)
    return hits


def _rows(tally: IntArray) -> IntArray:
    return np.asarray(tally.sum(axis=(-2, -1)))


def _answered(tally: IntArray) -> IntArray:
    return np.asarray(tally[..., :-1].sum(axis=(-2, -1)))


def _zero_if_seen(values: FloatArray, tally: IntArray) -> FloatArray:
    seen = (tally.sum(axis=-1) + tally[..., :-1].sum(axis=-2)) > 0
    return np.where(np.isnan(values) & seen, 0.0, values)


def _distances(num_labels: int, power: int) -> FloatArray:
    places = np.arange(num_labels)
    apart = np.abs(places[:, None] - places)
    distances: FloatArray = np.where(apart == 0, 0.0, apart.astype(np.float64) ** power)
    return distances
