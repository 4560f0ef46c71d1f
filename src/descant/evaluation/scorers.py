"""From outcomes to figures: F1 and every other measure, of each label, and trust in probabilities.

Each has its interval. An unanswered indicator is not left out: it counts as missed for its right
label and as wrong in the accuracy, and is counted on its own; it has no probabilities to be judged. A
score that is not defined is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, f1_score

from descant.evaluation.measure_results import LabelResult, label_results, measure_estimates
from descant.evaluation.measures import f1_bounds, macro_f1, positive_f1
from descant.evaluation.ranking import Ranking, ranking
from descant.evaluation.reliability import Forecasts, Reliability, reliability
from descant.evaluation.statistics import (
    Estimate,
    FloatArray,
    IntArray,
    Interval,
    bootstrap_interval,
    wilson_interval,
)
from descant.evaluation.task import Outcome
from descant.schema import Indicator


@dataclass(frozen=True)
class IndicatorResult:
    """How well one completer answers one indicator."""

    indicator: str
    support: int
    """Conversations with a label."""
    positives: int
    """Of those, with a positive label."""
    answered: int
    unanswered: int
    f1: Estimate | None
    """Positive labels against the rest; None when no conversation is positive."""
    macro_f1: Estimate | None
    """Mean over the labels that occur as right label or as answer."""
    accuracy: Estimate | None
    reliability: Reliability | None
    """Of the probabilities; None when there are none."""
    measures: Mapping[str, Estimate | None] = field(default_factory=dict)
    """By name, see `descant.evaluation.measures`; empty without a labelled conversation."""
    labels: Mapping[str, LabelResult] = field(default_factory=dict)
    """By label; empty without a labelled conversation."""
    ranking: Ranking | None = None
    """Of the probabilities; None unless some rows are positive and some not."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def score_indicator(
    indicator: Indicator, outcomes: Sequence[Outcome], seed: int = 0
) -> IndicatorResult:
    """Compute the figures of one indicator; the seed is the bootstrap's."""
    pairs = _as_indices(indicator, outcomes)
    positive = [indicator.labels.index(label) for label in indicator.positive]
    num_unanswered = sum(answer == len(indicator.labels) for _, answer in pairs)
    forecasts, tallies = Forecasts.of(indicator, outcomes), _tallies(pairs, len(indicator.labels))
    return IndicatorResult(
        indicator=indicator.name,
        support=len(pairs),
        positives=sum(right in positive for right, _ in pairs),
        answered=len(pairs) - num_unanswered,
        unanswered=num_unanswered,
        f1=_positive_estimate(indicator, pairs, positive, seed),
        macro_f1=_macro_estimate(indicator, pairs, seed),
        accuracy=_accuracy_estimate(pairs),
        reliability=reliability(forecasts, seed),
        measures=measure_estimates(indicator, tallies, seed) if pairs else {},
        labels=label_results(indicator, tallies.sum(axis=0)) if pairs else {},
        ranking=ranking(forecasts, positive),
    )


def tallies_of(indicator: Indicator, outcomes: Sequence[Outcome]) -> IntArray:
    """Return one tally an outcome, ``[N, L, L + 1]``: right label by answer, last *unanswered*."""
    return _tallies(_as_indices(indicator, outcomes), len(indicator.labels))


def _as_indices(indicator: Indicator, outcomes: Sequence[Outcome]) -> list[tuple[int, int]]:
    index = {label: at for at, label in enumerate(indicator.labels)}
    unanswered = len(index)
    return [
        (
            index[outcome.expected],
            unanswered if outcome.answer.label is None else index[outcome.answer.label],
        )
        for outcome in outcomes
    ]


def _tallies(pairs: Sequence[tuple[int, int]], num_labels: int) -> IntArray:
    tallies = np.zeros((len(pairs), num_labels, num_labels + 1), dtype=np.int64)
    right, answers = np.reshape(np.array(pairs, dtype=np.int64), (-1, 2)).T
    tallies[np.arange(len(pairs)), right, answers] = 1
    return tallies


def _positive_estimate(
    indicator: Indicator, pairs: Sequence[tuple[int, int]], positive: list[int], seed: int
) -> Estimate | None:
    is_positive = [right in positive for right, _ in pairs]
    if not any(is_positive):
        return None
    value = f1_score(is_positive, [answer in positive for _, answer in pairs], zero_division=0.0)
    tallies = _tallies(pairs, len(indicator.labels))
    interval = _interval(tallies, lambda tally: positive_f1(tally, positive), [positive], seed)
    return _estimate(float(value), interval)


def _macro_estimate(
    indicator: Indicator, pairs: Sequence[tuple[int, int]], seed: int
) -> Estimate | None:
    if not pairs:
        return None
    labels = list(range(len(indicator.labels)))
    right, answers = zip(*pairs, strict=True)
    # NaN leaves a label that occurs nowhere out of the mean, where 0 would pull it down.
    value = f1_score(right, answers, labels=labels, average="macro", zero_division=np.nan)
    tallies = _tallies(pairs, len(labels))
    present = np.unique([right, answers])
    groups = [[int(label)] for label in present if label < len(labels)]
    return _estimate(float(value), _interval(tallies, macro_f1, groups, seed))


def _accuracy_estimate(pairs: Sequence[tuple[int, int]]) -> Estimate | None:
    if not pairs:
        return None
    right, answers = zip(*pairs, strict=True)
    num_right = int(accuracy_score(right, answers, normalize=False))
    interval = wilson_interval(num_right, len(pairs))
    return interval and _estimate(num_right / len(pairs), interval)


def _interval(
    tallies: IntArray,
    statistic: Callable[[IntArray], FloatArray],
    groups: Sequence[list[int]],
    seed: int,
) -> Interval:
    found = bootstrap_interval(tallies, statistic, seed=seed)
    if found is not None and found.low < found.high:
        return found
    # Every resample gave the same score: all right or all wrong, of which a bootstrap knows nothing.
    total = tallies.sum(axis=0)
    bounds = [bound for group in groups if (bound := f1_bounds(total, group)) is not None]
    assert bounds, "a label that occurs has bounds"
    return Interval(*(float(np.mean(ends)) for ends in zip(*bounds, strict=True)))


def _estimate(value: float, interval: Interval) -> Estimate:
    return Estimate(value, min(value, interval.low), max(value, interval.high))
