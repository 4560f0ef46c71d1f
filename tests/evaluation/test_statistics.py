from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from descant.evaluation.measures import f1_bounds, label_f1s, macro_f1, positive_f1
from descant.evaluation.scorers import tallies_of
from descant.evaluation.statistics import (
    FloatArray,
    IntArray,
    Interval,
    bootstrap_interval,
    wilson_interval,
)
from descant.schema import Indicator
from tests.evaluation.outcomes import BINARY, INTENT, Pair, outcomes, pairs_of


def share(tally: IntArray) -> FloatArray:
    """Of tallies [B, 2]: the share of the second."""
    return np.asarray(tally[:, 1] / tally.sum(axis=1))


def one_hot(successes: int, total: int) -> IntArray:
    rows = np.zeros((total, 2), dtype=np.int64)
    rows[:, 0] = np.arange(total) >= successes
    rows[:, 1] = np.arange(total) < successes
    return rows


def total_tally(indicator: Indicator, pairs: list[Pair]) -> IntArray:
    tally: IntArray = tallies_of(indicator, outcomes(indicator, pairs)).sum(axis=0)
    return tally


@settings(deadline=None)
@given(pairs_of(INTENT))
def test_f1_of_a_tally_equals_scikit_learn(pairs: list[Pair]) -> None:
    tally = total_tally(INTENT, pairs)
    right = [pair[0] for pair in pairs]
    answers = [pair[1] or "unanswered" for pair in pairs]
    each = f1_score(right, answers, labels=INTENT.labels, average=None, zero_division=np.nan)
    np.testing.assert_allclose(label_f1s(tally), each)
    positive = f1_score(
        [label in INTENT.positive for label in right],
        [label in INTENT.positive for label in answers],
        zero_division=np.nan,
    )
    np.testing.assert_allclose(positive_f1(tally, [0, 2]), positive)
    macro = f1_score(right, answers, labels=INTENT.labels, average="macro", zero_division=np.nan)
    np.testing.assert_allclose(macro_f1(tally), macro)


@settings(deadline=None)
@given(st.lists(pairs_of(BINARY), min_size=1, max_size=5))
def test_many_tallies_at_once_equal_one_at_a_time(many: list[list[Pair]]) -> None:
    tallies = np.stack([total_tally(BINARY, pairs) for pairs in many])
    np.testing.assert_array_equal(macro_f1(tallies), [macro_f1(tally) for tally in tallies])
    np.testing.assert_array_equal(
        positive_f1(tallies, [1]), [positive_f1(tally, [1]) for tally in tallies]
    )


def test_bootstrap_equals_drawing_conversations_one_by_one() -> None:
    tallies = np.random.default_rng(1).integers(0, 5, size=(40, 2)) + 1
    generator = np.random.default_rng(2)
    drawn = [tallies[generator.integers(0, 40, size=40)].sum(axis=0) for _ in range(4000)]
    slow = np.quantile(share(np.stack(drawn)), [0.025, 0.975])
    fast = bootstrap_interval(tallies, share, seed=3, resamples=4000)
    assert fast == pytest.approx(tuple(slow), abs=0.008)


def test_bootstrap_is_the_same_for_the_same_seed_and_for_any_order_of_the_rows() -> None:
    tallies = one_hot(30, 100)
    found = bootstrap_interval(tallies, share, seed=7)
    assert found == bootstrap_interval(tallies[::-1], share, seed=7)
    assert found != bootstrap_interval(tallies, share, seed=8)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for seed in range(200):
        tallies = one_hot(int(generator.binomial(120, 0.4)), 120)
        found = bootstrap_interval(tallies, share, seed=seed, resamples=500)
        hits += found is not None and found.low <= 0.4 <= found.high
    assert 180 <= hits <= 199


def test_bootstrap_leaves_out_resamples_where_the_score_is_not_defined() -> None:
    def defined_above(tally: IntArray) -> FloatArray:
        values = share(tally)
        return np.where(values > 0.3, values, np.nan)

    found = bootstrap_interval(one_hot(30, 100), defined_above, seed=0)
    assert found is not None
    assert 0.3 < found.low < found.high < 0.45
    nothing = bootstrap_interval(one_hot(0, 9), lambda tally: np.full(len(tally), np.nan), seed=0)
    assert nothing is None
    assert bootstrap_interval(one_hot(0, 0), share, seed=0) is None


def test_two_thousand_resamples_of_a_thousand_conversations_take_little_time() -> None:
    tallies = total_rows(1000)
    started = time.process_time()
    bootstrap_interval(tallies, macro_f1, seed=0)
    assert time.process_time() - started < 0.5


def total_rows(count: int) -> IntArray:
    generator = np.random.default_rng(0)
    rows = np.zeros((count, 2, 3), dtype=np.int64)
    rows[np.arange(count), generator.integers(0, 2, count), generator.integers(0, 3, count)] = 1
    return rows


def test_wilson_interval_of_textbook_values() -> None:
    assert wilson_interval(10, 20) == pytest.approx((0.299, 0.701), abs=0.001)
    assert wilson_interval(20, 20) == pytest.approx((0.839, 1.0), abs=0.001)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.161), abs=0.001)
    assert wilson_interval(0, 0) is None


def test_f1_bounds_hold_the_f1_and_narrow_with_more_rows() -> None:
    few = f1_bounds(total_tally(BINARY, [("yes", "yes")] * 5), [1])
    many = f1_bounds(total_tally(BINARY, [("yes", "yes")] * 50), [1])
    assert few is not None
    assert many is not None
    assert 0.5 < few.low < many.low < 0.99
    assert few.high == many.high == 1.0
    mixed: list[Pair] = [("yes", "yes"), ("yes", "no"), ("yes", "no"), ("no", "yes"), ("no", "no")]
    tally = total_tally(BINARY, mixed)
    bounds = f1_bounds(tally, [1])
    assert bounds is not None
    assert bounds.low < float(positive_f1(tally, [1])) < bounds.high
    assert isinstance(bounds, Interval)
    assert f1_bounds(total_tally(BINARY, [("no", "no")]), [1]) is None
