from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn import metrics

from descant.evaluation import MEASURES, score_indicator
from descant.evaluation.measures import (
    Measure,
    label_precisions,
    label_recalls,
    mean_absolute_error,
    weighted_kappa,
)
from descant.evaluation.scorers import tallies_of
from descant.schema import Indicator
from tests.evaluation.outcomes import INTENT, Pair, outcomes, pairs_of

MOOD = Indicator("mood", "How?", ("low", "mid", "high"), ("high",), "ordinal", "mood")
LABELS = list(INTENT.labels)
Judge = Callable[[list[str], list[str]], float]
SKLEARN: dict[str, Judge] = {
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "micro_f1": lambda r, a: metrics.f1_score(
        r, a, labels=LABELS, average="micro", zero_division=0.0
    ),
    "micro_precision": lambda r, a: metrics.precision_score(
        r, a, labels=LABELS, average="micro", zero_division=np.nan
    ),
    "macro_precision": lambda r, a: seen_mean(metrics.precision_score, r, a),
    "macro_recall": lambda r, a: seen_mean(metrics.recall_score, r, a),
    "macro_f1": lambda r, a: seen_mean(metrics.f1_score, r, a),
    "mcc": lambda r, a: (
        np.nan if len(set(r)) == 1 or len(set(a)) == 1 else metrics.matthews_corrcoef(r, a)
    ),
    "answered_share": lambda r, a: float(np.mean([label != "unanswered" for label in a])),
}


def seen_mean(score: Any, right: list[str], answers: list[str]) -> float:
    """Over the labels that were right or answered; 0 where the share of one is not defined."""
    seen = [label for label in LABELS if label in right or label in answers]
    found = score(right, answers, labels=seen, average="macro", zero_division=0.0)
    return float(found)


def sides(pairs: list[Pair]) -> tuple[list[str], list[str]]:
    return [right for right, _ in pairs], [answer or "unanswered" for _, answer in pairs]


def measured(measure: Measure, indicator: Indicator, pairs: list[Pair]) -> float:
    return float(measure(tallies_of(indicator, outcomes(indicator, pairs)).sum(axis=0)))


@pytest.mark.parametrize("name", list(MEASURES))
@settings(deadline=None, max_examples=40)
@given(pairs=pairs_of(INTENT))
def test_every_measure_is_scikit_learns(name: str, pairs: list[Pair]) -> None:
    right, answers = sides(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = SKLEARN[name](right, answers)
    assert measured(MEASURES[name], INTENT, pairs) == pytest.approx(expected, nan_ok=True)


@settings(deadline=None, max_examples=40)
@given(pairs=pairs_of(INTENT))
def test_shares_of_each_label_are_scikit_learns(pairs: list[Pair]) -> None:
    right, answers = sides(pairs)
    tally = tallies_of(INTENT, outcomes(INTENT, pairs)).sum(axis=0)
    ours = (label_precisions(tally), label_recalls(tally))
    for found, score in zip(ours, (metrics.precision_score, metrics.recall_score), strict=True):
        theirs = score(right, answers, labels=LABELS, average=None, zero_division=np.nan)
        np.testing.assert_allclose(found, theirs)


@settings(deadline=None, max_examples=40)
@given(pairs=pairs_of(MOOD))
def test_distances_of_ordered_labels_are_scikit_learns(pairs: list[Pair]) -> None:
    places = [(MOOD.labels.index(r), MOOD.labels.index(a)) for r, a in pairs if a is not None]
    if not places:
        assert np.isnan(measured(mean_absolute_error, MOOD, pairs))
        return
    right, answers = zip(*places, strict=True)
    expected = metrics.mean_absolute_error(right, answers)
    assert measured(mean_absolute_error, MOOD, pairs) == pytest.approx(expected)
    if len(set(right)) > 1:
        for power, weights in ((0, None), (1, "linear"), (2, "quadratic")):
            kappa = metrics.cohen_kappa_score(right, answers, weights=weights)
            ours = measured(lambda tally, p=power: weighted_kappa(tally, p), MOOD, pairs)
            assert ours == pytest.approx(kappa)


@settings(deadline=None, max_examples=25)
@given(pairs=pairs_of(MOOD))
def test_an_indicator_has_every_measure_and_no_nan(pairs: list[Pair]) -> None:
    result = score_indicator(MOOD, outcomes(MOOD, pairs))
    assert set(result.measures) == {*MEASURES, "quadratic_kappa", "mean_absolute_error"}
    for estimate in result.measures.values():
        if estimate is not None:
            assert estimate.low <= estimate.value <= estimate.high
    assert sum(label.support for label in result.labels.values()) == len(pairs)


def test_faultless_answers_on_few_rows_are_no_certainty_in_any_measure() -> None:
    pairs: list[Pair] = [("low", "low"), ("mid", "mid"), ("high", "high")] * 4
    for name, estimate in score_indicator(MOOD, outcomes(MOOD, pairs)).measures.items():
        if name != "answered_share":
            assert estimate is not None
            assert estimate.low < estimate.high, name
    perfect = score_indicator(MOOD, outcomes(MOOD, pairs)).labels["mid"].precision
    assert perfect is not None
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.51, abs=0.01)


def test_a_measure_that_is_not_defined_is_none_and_not_zero() -> None:
    result = score_indicator(MOOD, outcomes(MOOD, [("low", None), ("low", None)]))
    assert result.measures["quadratic_kappa"] is None
    assert result.measures["micro_precision"] is None
    assert result.measures["answered_share"] is not None
    assert result.labels["low"].precision is None
    assert result.labels["high"].recall is None
