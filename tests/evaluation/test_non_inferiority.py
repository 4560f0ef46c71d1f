from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from descant.evaluation import (
    clustered_non_inferiority,
    clustered_share,
    non_inferiority,
    proportion_non_inferiority,
    wilson_interval,
)
from descant.evaluation.measures import accuracy
from descant.evaluation.non_inferiority import tango_interval, tango_score
from descant.evaluation.pairing import difference_of
from descant.evaluation.statistics import FloatArray, IntArray

counts = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 200))


def slow_score(wins: int, losses: int, total: int, supposed: float) -> float:
    """The loss share under the supposed difference by maximum likelihood, found by search."""
    rest = total - wins - losses

    def unlikely(share: float) -> float:
        cells = [(wins, share + supposed), (losses, share), (rest, 1 - 2 * share - supposed)]
        return -sum(count * np.log(max(p, 1e-300)) for count, p in cells if count)

    low, high = max(0.0, -supposed), (1 - supposed) / 2
    share = minimize_scalar(
        unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    ).x
    variance = total * (2 * share + supposed - supposed**2)
    return float((wins - losses - total * supposed) / np.sqrt(variance))


def tallies(wins: int, losses: int, same: int) -> IntArray:
    """``[N, 2, 1, 2, 3]``: the one right alone, the other right alone, both right."""
    rows = np.zeros((wins + losses + same, 2, 1, 2, 3), dtype=np.int64)
    rows[:, :, 0, 1, 1] = 1
    for at, side in [(at, 1) for at in range(wins)] + [(wins + at, 0) for at in range(losses)]:
        rows[at, side, 0, 1] = [1, 0, 0]
    return rows


def by_accuracy(tally: IntArray) -> FloatArray:
    return difference_of(tally, accuracy)


@settings(max_examples=60, deadline=None)
@given(counts, st.floats(-0.4, 0.4))
def test_the_score_in_closed_form_is_that_of_a_search(
    given_counts: tuple[int, int, int], supposed: float
) -> None:
    wins, losses, same = given_counts
    total = wins + losses + same
    if abs((wins - losses) / total - supposed) > 0.01 and abs(supposed) > 0.01:
        expected = slow_score(wins, losses, total, supposed)
        assert tango_score(wins, losses, total, supposed) == pytest.approx(expected, rel=1e-3)


@settings(deadline=None)
@given(counts)
def test_the_interval_holds_the_difference_and_turns_with_the_sides(
    given_counts: tuple[int, int, int],
) -> None:
    wins, losses, same = given_counts
    total = wins + losses + same
    low, high = tango_interval(wins, losses, total)
    assert -1 <= low <= (wins - losses) / total <= high <= 1
    assert tango_interval(losses, wins, total) == pytest.approx((-high, -low), abs=1e-6)


@settings(deadline=None)
@given(counts, st.floats(0.01, 0.3), st.floats(0.01, 0.2))
def test_what_is_shown_is_what_the_p_value_says(
    given_counts: tuple[int, int, int], margin: float, alpha: float
) -> None:
    wins, losses, same = given_counts
    found = proportion_non_inferiority(wins, losses, wins + losses + same, margin, alpha)
    if abs(found.p_value - alpha) > 1e-6:
        assert found.is_shown == (found.p_value < alpha)
    assert found.worse_p_value + found.better_p_value == pytest.approx(1)


def test_no_difference_on_few_conversations_is_no_proof() -> None:
    # The rule of three: of n conversations without a loss, up to 3/n may be lost.
    for count, is_enough in ((40, False), (400, True)):
        found = non_inferiority(tallies(0, 0, count), by_accuracy, margin=0.02)
        assert found is not None
        assert found.value == 0
        assert found.low == pytest.approx(-3 / count, rel=0.4)
        assert found.is_shown == is_enough
        assert clustered(count).is_shown == is_enough


def clustered(count: int) -> object:
    ones = np.ones(count, dtype=np.int64)
    return clustered_non_inferiority(0 * ones, 0 * ones, ones, margin=0.02)


def test_the_bootstrap_agrees_with_the_score_where_there_is_much_to_see() -> None:
    found = non_inferiority(tallies(40, 50, 910), by_accuracy, margin=0.03, resamples=8000)
    exact = proportion_non_inferiority(40, 50, 1000, margin=0.03)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.002)
    assert found.p_value == pytest.approx(exact.p_value, abs=0.01)
    assert found.is_shown == exact.is_shown
    assert non_inferiority(tallies(0, 0, 0), by_accuracy, margin=0.03) is None


def test_answers_of_one_conversation_count_as_little_as_they_are_worth() -> None:
    generator = np.random.default_rng(0)
    alone = generator.integers(0, 2, 200)
    ones = np.ones(200, dtype=np.int64)
    single, copied = clustered_share(alone, ones), clustered_share(alone * 5, ones * 5)
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), abs=1e-9)
    plain = wilson_interval(int(alone.sum()), 200)
    assert plain is not None
    # Student's bounds in the place of the normal's, which is little for 200.
    assert (single.low, single.high) == pytest.approx(tuple(plain), abs=0.003)


def test_a_faultless_share_counts_conversations_and_not_answers() -> None:
    ones = np.ones(20, dtype=np.int64)
    found, plain = clustered_share(ones * 30, ones * 30), wilson_interval(20, 20)
    assert plain is not None
    assert (found.value, found.low) == (1.0, pytest.approx(plain.low))
