from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.evaluation.comparison import compare_answers
from descant.evaluation.scorers import score_indicator
from descant.evaluation.significance import holm_p_values, mcnemar_p_value
from tests.evaluation.outcomes import BINARY, INTENT, Pair, outcomes

p_values = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8)
ANSWERS = st.sampled_from([*INTENT.labels, None])


@st.composite
def answered_twice(draw: st.DrawFn) -> tuple[list[Pair], list[Pair]]:
    rights = draw(st.lists(st.sampled_from(INTENT.labels), min_size=1, max_size=30))
    return ([(r, draw(ANSWERS)) for r in rights], [(r, draw(ANSWERS)) for r in rights])


def test_mcnemar_of_a_published_example() -> None:
    # Two media for culturing, Armitage and Berry, Statistical Methods in Medical Research, 1994,
    # page 127: 12 and 2 specimens grew on one medium only.
    assert mcnemar_p_value(12, 2) == pytest.approx(0.0129, abs=5e-5)
    assert mcnemar_p_value(2, 12) == mcnemar_p_value(12, 2)
    assert mcnemar_p_value(5, 5) == mcnemar_p_value(0, 0) == 1.0


def test_holm_of_a_published_example() -> None:
    # Documentation of pingouin.multicomp, method holm.
    found = holm_p_values([0.50, 0.003, 0.32, 0.054, 0.0003])
    assert found == pytest.approx([0.64, 0.012, 0.64, 0.162, 0.0015])
    assert holm_p_values([]) == []


@given(p_values)
def test_holm_keeps_the_order_and_never_lowers(given_values: list[float]) -> None:
    found = holm_p_values(given_values)
    assert all(low <= high <= 1.0 for low, high in zip(given_values, found, strict=True))
    order = np.argsort(given_values, kind="stable")
    assert sorted(found) == [found[at] for at in order]


@settings(deadline=None, max_examples=30)
@given(answered_twice())
def test_a_gain_is_the_difference_of_the_scores_and_turns_with_the_sides(
    pairs: tuple[list[Pair], list[Pair]],
) -> None:
    one, other = (outcomes(INTENT, side) for side in pairs)
    found, turned = compare_answers(INTENT, one, other), compare_answers(INTENT, other, one)
    scores = [score_indicator(INTENT, side).macro_f1 for side in (one, other)]
    assert scores[0] is not None
    assert scores[1] is not None
    assert found.gain is not None
    assert turned.gain is not None
    assert found.gain.value == pytest.approx(scores[0].value - scores[1].value)
    assert found.gain.low <= found.gain.value <= found.gain.high
    assert turned.gain.value == pytest.approx(-found.gain.value)
    assert turned.gain.low == pytest.approx(-found.gain.high, abs=0.1)
    assert (turned.only_one_right, turned.p_value) == (found.only_other_right, found.p_value)


def test_pairing_sees_what_two_intervals_side_by_side_do_not() -> None:
    # The two differ in 12 of 200 conversations, always in favour of the one.
    both: list[Pair] = [("yes", "yes"), ("no", "no")] * 70 + [("yes", "no"), ("no", "yes")] * 24
    one = outcomes(BINARY, both + [("yes", "yes")] * 12)
    other = outcomes(BINARY, both + [("yes", "no")] * 12)
    found = compare_answers(BINARY, one, other)
    assert (found.only_one_right, found.only_other_right) == (12, 0)
    assert found.p_value < 0.001
    assert found.gain is not None
    assert found.gain.low > 0
    alone = [score_indicator(BINARY, side).macro_f1 for side in (one, other)]
    assert alone[0] is not None
    assert alone[1] is not None
    assert alone[0].low < alone[1].high


def test_nothing_compared_is_no_difference() -> None:
    found = compare_answers(BINARY, [], [])
    assert (found.gain, found.p_value) == (None, 1.0)


def test_equals_do_not_seem_to_differ_more_often_than_they_should() -> None:
    generator = np.random.default_rng(1)
    splits = generator.binomial(30, 0.5, 2000)
    assert np.mean([mcnemar_p_value(int(k), 30 - int(k)) < 0.05 for k in splits]) < 0.06
