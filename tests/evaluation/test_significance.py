from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from descant.evaluation import (
    benjamini_hochberg_p_values,
    holm_p_values,
    mcnemar_p_value,
    permutation_p_value,
)
from descant.evaluation.measures import macro_f1
from descant.evaluation.pairing import difference_of
from descant.evaluation.statistics import FloatArray, IntArray

p_values = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


def first_less_second(sums: IntArray) -> FloatArray:
    return np.asarray(sums[:, 0] - sums[:, 1], dtype=np.float64)


def drawn(count: int, seed: int) -> IntArray:
    """Tallies ``[N, 2, 1, 2, 3]`` of two equals."""
    generator = np.random.default_rng(seed)
    tallies = np.zeros((count, 2, 1, 2, 3), dtype=np.int64)
    right = generator.integers(0, 2, count)
    for side in range(2):
        tallies[np.arange(count), side, 0, right, generator.integers(0, 3, count)] = 1
    return tallies


def slow_holm(values: list[float], alpha: float) -> set[int]:
    """The procedure as published: from the smallest on, until one is not small enough."""
    refused = set()
    for place, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        if values[at] > alpha / (len(values) - place):
            break
        refused.add(at)
    return refused


def slow_benjamini_hochberg(values: list[float], q: float) -> set[int]:
    """The procedure as published: up to the largest that is below its step."""
    order = sorted(range(len(values)), key=values.__getitem__)
    steps = [k for k, at in enumerate(order, start=1) if values[at] <= k * q / len(values)]
    return set(order[: max(steps, default=0)])


@given(p_values, st.floats(0.001, 0.4))
def test_corrected_values_refuse_what_the_procedures_refuse(
    given_values: list[float], level: float
) -> None:
    for ours, slow in (
        (holm_p_values, slow_holm),
        (benjamini_hochberg_p_values, slow_benjamini_hochberg),
    ):
        found = ours(given_values)
        if all(abs(value - level) > 1e-9 for value in found):
            assert {at for at, value in enumerate(found) if value < level} == slow(
                given_values, level
            )


@given(p_values)
def test_the_share_of_false_alarms_is_less_strict_than_none(given_values: list[float]) -> None:
    pairs = zip(benjamini_hochberg_p_values(given_values), holm_p_values(given_values), strict=True)
    assert all(share <= none + 1e-12 for share, none in pairs)
    assert benjamini_hochberg_p_values([]) == []


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_that_of_statsmodels(one: int, other: int) -> None:
    expected = mcnemar([[5, one], [other, 5]], exact=True).pvalue if one + other else 1.0
    assert mcnemar_p_value(one, other) == pytest.approx(expected)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
def test_all_exchanges_are_those_tried_one_by_one(pairs: list[tuple[int, int]]) -> None:
    rows = np.array(pairs, dtype=np.int64)
    observed = abs(int((rows[:, 0] - rows[:, 1]).sum()))
    signs = product((1, -1), repeat=len(pairs))
    slow = np.mean([abs(np.dot(s, rows[:, 0] - rows[:, 1])) >= observed for s in signs])
    assert permutation_p_value(rows, first_less_second, seed=0) == pytest.approx(float(slow))


def test_right_and_wrong_alone_give_mcnemar() -> None:
    rows = np.array([[1, 0]] * 9 + [[0, 1]] * 3 + [[1, 1]] * 40, dtype=np.int64)
    found = permutation_p_value(rows, first_less_second, seed=0)
    assert found == pytest.approx(mcnemar_p_value(9, 3))


def test_drawn_exchanges_are_close_to_all_of_them() -> None:
    rows = np.array([[1, 0]] * 20 + [[0, 1]] * 10 + [[1, 1]] * 40, dtype=np.int64)
    found = permutation_p_value(rows, first_less_second, seed=0, resamples=20_000)
    assert found == pytest.approx(mcnemar_p_value(20, 10), abs=0.01)


def test_equals_seem_to_differ_in_macro_f1_as_often_as_they_may() -> None:
    found = [
        permutation_p_value(
            drawn(40, seed), lambda t: difference_of(t, macro_f1), seed=seed, resamples=200
        )
        for seed in range(150)
    ]
    assert np.mean(np.array(found) <= 0.2) == pytest.approx(0.2, abs=0.08)
