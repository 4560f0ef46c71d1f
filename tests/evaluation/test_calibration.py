"""Fitting on made-up forecasters whose faults are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from descant.evaluation import (
    CalibrationConfig,
    Forecasts,
    Outcome,
    fit_calibration,
    reliability,
)
from descant.evaluation.calibration import fit_isotonic, fit_temperature
from descant.evaluation.statistics import FloatArray
from descant.schema import Answer, Indicator, IsotonicScaling, Scaling, TemperatureScaling
from descant.schema.errors import InvalidConfig
from tests.evaluation.outcomes import BINARY, INTENT, outcomes
from tests.evaluation.test_reliability import drawn


def distorted(found: Forecasts, power: float) -> Forecasts:
    bent = found.probabilities**power
    return Forecasts(bent / bent.sum(axis=1, keepdims=True), found.right)


def applied(scaling: Scaling, labels: Sequence[str], probabilities: FloatArray) -> FloatArray:
    rows = [scaling.apply(dict(zip(labels, row, strict=True))) for row in probabilities.tolist()]
    return np.array([list(row.values()) for row in rows])


def as_outcomes(indicator: Indicator, found: Forecasts) -> list[Outcome]:
    made = []
    for at, (row, right) in enumerate(zip(found.probabilities.tolist(), found.right, strict=True)):
        shares = dict(zip(indicator.labels, row, strict=True))
        label = max(shares, key=shares.__getitem__)
        answer = Answer(indicator.name, label, shares, shares[label], None)
        made.append(Outcome(str(at), indicator.name, indicator.labels[right], answer))
    return made


def same_rows(probability: float, num_right: int, num_wrong: int) -> Forecasts:
    rows = np.tile([1 - probability, probability], (num_right + num_wrong, 1))
    return Forecasts(rows, np.array([1] * num_right + [0] * num_wrong))


@pytest.mark.parametrize(("num_right", "num_wrong"), [(30, 10), (39, 1), (40, 0), (25, 15)])
def test_the_temperature_of_equal_answers_is_known(num_right: int, num_wrong: int) -> None:
    # All say 0.95: the best temperature turns that into the mean of Platt's targets.
    count = num_right + num_wrong
    sure = (count + 1) / (count + 2)
    goal = (num_right * sure + num_wrong * (1 - sure)) / count
    fitted = fit_temperature(BINARY.labels, same_rows(0.95, num_right, num_wrong))
    odds = math.log(0.95 / 0.05) / math.log(goal / (1 - goal))
    assert fitted.temperature == pytest.approx(odds, rel=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 100), st.integers(2, 6), st.sampled_from([0.5, 1.0, 2.5]))
def test_a_temperature_that_was_put_in_is_found(seed: int, num_labels: int, power: float) -> None:
    labels = [str(at) for at in range(num_labels)]
    fitted = fit_temperature(labels, distorted(drawn(3000, seed, num_labels), power))
    assert fitted.temperature == pytest.approx(power, rel=0.15)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 60), st.floats(0.3, 3.0))
def test_a_curve_equals_scikit_learn(seed: int, count: int, power: float) -> None:
    found = distorted(drawn(count, seed), power)
    scaling = fit_isotonic(BINARY.labels, found)
    yes = found.right == 1
    targets = np.where(yes, (yes.sum() + 1) / (yes.sum() + 2), 1 / ((~yes).sum() + 2))
    twin = IsotonicRegression(out_of_bounds="clip").fit(found.probabilities[:, 1], targets)
    new = np.random.default_rng(seed).dirichlet([1, 1], 50)
    expected = twin.predict(new[:, 1])
    np.testing.assert_allclose(applied(scaling, BINARY.labels, new)[:, 1], expected, atol=1e-9)


def test_curves_of_more_labels_equal_scikit_learn_one_against_the_rest() -> None:
    found = distorted(drawn(300, 1, 3), 2.0)
    columns = []
    new = np.random.default_rng(2).dirichlet([1, 1, 1], 50)
    for at in range(3):
        hit = found.right == at
        targets = np.where(hit, (hit.sum() + 1) / (hit.sum() + 2), 1 / ((~hit).sum() + 2))
        twin = IsotonicRegression(out_of_bounds="clip").fit(found.probabilities[:, at], targets)
        columns.append(twin.predict(new[:, at]))
    expected = np.stack(columns, axis=1)
    expected /= expected.sum(axis=1, keepdims=True)
    got = applied(fit_isotonic(INTENT.labels, found), INTENT.labels, new)
    np.testing.assert_allclose(got, expected, atol=1e-9)


@pytest.mark.parametrize(("indicator", "num_labels"), [(BINARY, 2), (INTENT, 3)])
@pytest.mark.parametrize("method", ["auto", "temperature", "isotonic"])
def test_one_who_is_too_sure_gets_less_error_on_rows_never_seen(
    indicator: Indicator, num_labels: int, method: str
) -> None:
    dev, test = (distorted(drawn(1000, seed, num_labels), 3.0) for seed in (1, 2))
    config = CalibrationConfig(method)  # type: ignore[arg-type]
    fit = fit_calibration(indicator, as_outcomes(indicator, dev), config)
    assert fit.scaling is not None
    before = reliability(test, seed=0)
    after = reliability(
        Forecasts(applied(fit.scaling, indicator.labels, test.probabilities), test.right), seed=0
    )
    assert before is not None
    assert after is not None
    assert before.ece.value > 0.1
    assert after.ece.value < before.ece.value / 2
    assert after.ece.high < before.ece.low
    assert after.nll.high < before.nll.low
    assert fit.after is not None
    assert fit.after.ece.value == pytest.approx(after.ece.value, abs=0.03)
    assert fit.change is not None
    assert fit.change.nll.high < 0


def test_a_fault_that_is_a_temperature_is_mended_by_one_and_another_fault_by_a_curve() -> None:
    too_sure = distorted(drawn(1000, 1), 3.0)
    fit = fit_calibration(BINARY, as_outcomes(BINARY, too_sure))
    assert isinstance(fit.scaling, TemperatureScaling)
    assert fit.changed_labels == 0
    fair = drawn(1000, 1)
    too_often = np.sqrt(fair.probabilities[:, 1])
    biased = Forecasts(np.stack([1 - too_often, too_often], axis=1), fair.right)
    fit = fit_calibration(BINARY, as_outcomes(BINARY, biased))
    assert (fit.method, type(fit.scaling)) == ("isotonic", IsotonicScaling)
    assert fit.num_examples == 1000
    # A quarter to a half of the way to yes had been told as yes.
    assert 200 < fit.changed_labels < 300


def test_few_rows_get_a_temperature_whatever_the_fault() -> None:
    fair = drawn(150, 1)
    too_often = np.sqrt(fair.probabilities[:, 1])
    biased = Forecasts(np.stack([1 - too_often, too_often], axis=1), fair.right)
    fit = fit_calibration(BINARY, as_outcomes(BINARY, biased))
    assert fit.method in ("temperature", "none")


def test_noise_is_not_learned() -> None:
    # What is right does not depend on what was said: a curve fits these rows best, others worse.
    generator = np.random.default_rng(4)
    rows = np.full((400, 2), 0.5) + np.outer(generator.uniform(-0.01, 0.01, 400), [1, -1])
    fit = fit_calibration(
        BINARY, as_outcomes(BINARY, Forecasts(rows, generator.integers(0, 2, 400)))
    )
    assert fit.method in ("temperature", "none")


def test_a_curve_has_to_be_better_by_more_than_chance_would_have_it() -> None:
    fair = drawn(250, 6)
    too_often = fair.probabilities[:, 1] ** 0.8
    made = as_outcomes(BINARY, Forecasts(np.stack([1 - too_often, too_often], axis=1), fair.right))
    curve = fit_calibration(BINARY, made, CalibrationConfig("isotonic"))
    assert curve.change is not None
    assert curve.change.nll.low < curve.change.nll.value < 0 < curve.change.nll.high
    assert fit_calibration(BINARY, made).method == "none"


def test_what_is_right_already_stays_as_it_is() -> None:
    # In each group of answers exactly as many are right as is said.
    groups = [(0.5, 10, 10), (0.7, 14, 6), (0.9, 18, 2)]
    parts = [same_rows(*group) for group in groups]
    found = Forecasts(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.right for part in parts]),
    )
    fit = fit_calibration(BINARY, as_outcomes(BINARY, found))
    assert (fit.method, fit.scaling, fit.reason) == ("none", None, None)
    assert fit.before is not None
    assert fit.after is None


@pytest.mark.parametrize(
    ("found", "method", "reason"),
    [
        (drawn(19, 1), "auto", "19 examples are too few; 20 are needed"),
        (drawn(19, 1), "temperature", "19 examples are too few; 20 are needed"),
        (drawn(0, 1), "auto", "0 examples are too few; 20 are needed"),
        (same_rows(0.9, 40, 0), "auto", "one label only"),
        (same_rows(0.9, 40, 3), "isotonic", "'no' has 3 examples; isotonic needs 10"),
    ],
)
def test_too_few_examples_say_nothing(found: Forecasts, method: str, reason: str) -> None:
    config = CalibrationConfig(method)  # type: ignore[arg-type]
    fit = fit_calibration(BINARY, as_outcomes(BINARY, found), config)
    assert (fit.method, fit.scaling, fit.after) == (None, None, None)
    assert reason in (fit.reason or "")


def test_who_never_answered_says_why() -> None:
    fit = fit_calibration(BINARY, outcomes(BINARY, [("yes", None)] * 30))
    assert (fit.method, fit.reason, fit.num_examples) == (None, "too long", 0)


def test_twenty_right_answers_are_not_certainty() -> None:
    found = Forecasts(np.array([[0.3, 0.7], [0.7, 0.3]] * 10), np.array([1, 0] * 10))
    fit = fit_calibration(BINARY, as_outcomes(BINARY, found))
    assert fit.scaling is not None
    assert fit.scaling.apply({"no": 0.3, "yes": 0.7})["yes"] == pytest.approx(21 / 22, abs=0.001)


def test_a_calibration_there_is_already_is_not_built_upon() -> None:
    raw = distorted(drawn(300, 1), 3.0)
    plain = as_outcomes(BINARY, raw)
    half = {"no": 0.5, "yes": 0.5}
    calibrated = [
        replace(
            o,
            answer=replace(o.answer, probabilities=half, raw_probabilities=o.answer.probabilities),
        )
        for o in plain
    ]
    assert fit_calibration(BINARY, calibrated) == fit_calibration(BINARY, plain)


def test_the_same_seed_gives_the_same_fit() -> None:
    made = as_outcomes(BINARY, distorted(drawn(250, 3), 2.0))
    assert fit_calibration(BINARY, made) == fit_calibration(BINARY, made)


@pytest.mark.parametrize("field", ["num_folds", "min_rows"])
def test_a_setting_out_of_range_is_refused(field: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        CalibrationConfig(**{field: 1})
    assert caught.value.field == field
