from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from descant.evaluation import Forecasts, Outcome, reliability
from descant.evaluation.reliability import (
    brier_loss,
    calibration_tally,
    equal_mass_edges,
    reliability_change,
)
from descant.evaluation.statistics import FloatArray
from descant.schema import Answer, unanswered
from tests.evaluation.outcomes import BINARY, INTENT


def forecasts(probabilities: object, right: object) -> Forecasts:
    return Forecasts(np.array(probabilities, float), np.array(right, np.int64))


def drawn(count: int, seed: int, num_labels: int = 2) -> Forecasts:
    """Faultless forecasts: what is right is drawn with the probabilities that are stated."""
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(num_labels), count)
    ends = probabilities.cumsum(axis=1)[:, :-1]
    return forecasts(probabilities, (generator.random((count, 1)) > ends).sum(axis=1))


def error(confidence: object, is_hit: object, edges: FloatArray | list[float]) -> float:
    tally = calibration_tally(np.array(confidence), np.array(is_hit, bool), edges)
    return float(np.abs(tally.sum(axis=0)).sum()) / len(tally)


def test_calibration_error_of_published_examples() -> None:
    # Docstrings of BinaryCalibrationError and MulticlassCalibrationError, torchmetrics 1.9.
    assert error([0.25, 0.25, 0.55, 0.75, 0.75], [0, 0, 1, 1, 1], [0.5]) == pytest.approx(0.29)
    assert error([0.55, 0.55, 0.60, 0.90], [0, 0, 1, 1], [1 / 3, 2 / 3]) == pytest.approx(0.2)
    # Maja Pavlovic, Expected Calibration Error: a step-by-step visual explanation, 2023.
    confidence = [0.22, 0.64, 0.92, 0.42, 0.51, 0.15, 0.70, 0.37, 0.83]
    is_hit = [1, 1, 0, 1, 0, 0, 1, 1, 1]
    assert error(confidence, is_hit, [1 / 3, 2 / 3]) == pytest.approx(0.23778, abs=1e-5)


def test_brier_loss_of_the_example_of_scikit_learn() -> None:
    # Docstring of sklearn.metrics.brier_score_loss.
    yes = np.array([0.1, 0.9, 0.8, 0.3])
    found = forecasts(np.stack([1 - yes, yes], axis=1), [0, 1, 1, 0])
    assert float(brier_loss(found).mean()) == pytest.approx(0.0375)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 50), st.integers(2, 5))
def test_losses_equal_scikit_learn(seed: int, count: int, num_labels: int) -> None:
    found = drawn(count, seed, num_labels)
    told = reliability(found, seed=0)
    assert told is not None
    labels = list(range(num_labels))
    nll = log_loss(found.right, found.probabilities, labels=labels)
    truth = np.eye(num_labels)[found.right]
    brier = brier_score_loss(truth.ravel(), found.probabilities.ravel(), pos_label=1)
    assert told.nll.value == pytest.approx(nll)
    assert told.brier.value == pytest.approx(brier * num_labels / 2)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 50))
def test_figures_lie_in_their_intervals_and_do_not_depend_on_the_order(
    seed: int, count: int
) -> None:
    found = drawn(count, seed)
    told = reliability(found, seed=1)
    assert told is not None
    for estimate in (told.nll, told.brier, told.ece, told.ece_equal_width):
        assert 0.0 <= estimate.low <= estimate.value <= estimate.high
    turned = reliability(Forecasts(found.probabilities[::-1], found.right[::-1]), seed=1)
    assert turned is not None
    assert turned.ece.value == pytest.approx(told.ece.value)
    assert told.ece.value <= 1.0
    assert told.brier.value <= 1.0


def test_bins_of_equal_mass_hold_as_many_rows_each_and_keep_equals_together() -> None:
    confidence = drawn(100, 3).probabilities.max(axis=1)
    tally = calibration_tally(confidence, np.zeros(100, bool), equal_mass_edges(confidence))
    assert (tally != 0).sum(axis=0).tolist() == [10] * 10
    same = np.full(20, 0.7)
    is_hit = np.arange(20) < 14
    assert error(same, is_hit, equal_mass_edges(same)) == pytest.approx(0.0)


def test_faultless_forecasts_of_many_rows_have_little_error_and_of_few_rows_seem_to_have_some() -> (
    None
):
    many = reliability(drawn(4000, 5), seed=0)
    assert many is not None
    assert many.ece.value < 0.03
    few = [reliability(drawn(50, seed), seed=0) for seed in range(20)]
    assert 0.06 < np.mean([told.ece.value for told in few if told is not None]) < 0.14


def test_a_change_is_paired() -> None:
    before = drawn(200, 7)
    same = reliability_change(before, before, seed=0)
    assert same is not None
    assert (same.nll.low, same.nll.value, same.nll.high) == (0.0, 0.0, 0.0)
    bolder = before.probabilities**4
    after = Forecasts(bolder / bolder.sum(axis=1, keepdims=True), before.right)
    change, one, other = (
        reliability_change(before, after, seed=0),
        reliability(before, seed=0),
        reliability(after, seed=0),
    )
    assert change is not None
    assert one is not None
    assert other is not None
    assert change.ece.value == pytest.approx(other.ece.value - one.ece.value)
    assert change.nll.value == pytest.approx(other.nll.value - one.nll.value)
    assert 0.0 < change.nll.low < change.nll.high


def test_only_what_was_answered_is_judged() -> None:
    outcomes = [
        Outcome("1", "greeting", "yes", Answer("greeting", "yes", {"yes": 0.9}, 0.9, None)),
        Outcome("2", "greeting", "no", unanswered("greeting", "too long")),
    ]
    found = Forecasts.of(BINARY, outcomes)
    assert found.probabilities.tolist() == [[0.0, 0.9]]
    assert found.right.tolist() == [1]
    nothing = Forecasts.of(INTENT, [])
    assert nothing.probabilities.shape == (0, 3)
    assert reliability(nothing, seed=0) is None
    assert reliability_change(nothing, nothing, seed=0) is None


def test_a_probability_of_0_costs_much_but_not_everything() -> None:
    told = reliability(forecasts([[1.0, 0.0]], [1]), seed=0)
    assert told is not None
    assert told.nll.value == pytest.approx(27.63, abs=0.01)
