from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from sklearn.metrics import f1_score

from descant.evaluation import Estimate, IndicatorResult, score_indicator
from tests.evaluation.outcomes import BINARY, INTENT, Pair, outcomes, pairs_of

TEN: list[Pair] = [
    *[("yes", "yes")] * 3,
    ("yes", "no"),
    ("no", "yes"),
    *[("no", "no")] * 4,
    ("yes", None),
]


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


def test_figures_worked_out_by_hand() -> None:
    result = score_indicator(BINARY, outcomes(BINARY, TEN))
    assert (result.indicator, result.support, result.positives) == ("greeting", 10, 5)
    assert (result.answered, result.unanswered) == (9, 1)
    assert value(result.f1) == pytest.approx(2 * 3 / (5 + 4))
    assert value(result.macro_f1) == pytest.approx((6 / 9 + 8 / 10) / 2)
    assert value(result.accuracy) == pytest.approx(0.7)


def test_an_unanswered_conversation_never_helps() -> None:
    answered = [pair for pair in TEN if pair[1] is not None]
    whole, kept = (score_indicator(BINARY, outcomes(BINARY, pairs)) for pairs in (TEN, answered))
    assert value(whole.f1) < value(kept.f1)
    assert value(whole.accuracy) < value(kept.accuracy)


def test_several_positive_labels_count_as_one_side() -> None:
    pairs: list[Pair] = [("buy", "return"), ("return", "return"), ("ask", "ask"), ("ask", "buy")]
    result = score_indicator(INTENT, outcomes(INTENT, pairs))
    assert result.positives == 2
    assert value(result.f1) == pytest.approx(2 * 2 / (2 + 3))
    assert value(result.macro_f1) == pytest.approx((0 + 2 / 3 + 2 / 3) / 3)


def test_without_a_positive_conversation_f1_is_not_defined() -> None:
    result = score_indicator(BINARY, outcomes(BINARY, [("no", "no"), ("no", "yes")]))
    assert result.f1 is None
    assert value(result.macro_f1) == pytest.approx((2 / 3 + 0) / 2)


def test_a_label_that_occurs_nowhere_does_not_pull_the_mean_down() -> None:
    result = score_indicator(BINARY, outcomes(BINARY, [("no", "no")] * 3))
    assert value(result.macro_f1) == 1.0


def test_positives_that_are_all_missed_are_zero() -> None:
    result = score_indicator(BINARY, outcomes(BINARY, [("yes", "no"), ("no", "no")]))
    assert value(result.f1) == 0.0


def test_nothing_labelled_gives_no_figures() -> None:
    assert score_indicator(BINARY, []) == IndicatorResult(
        "greeting", 0, 0, 0, 0, None, None, None, None
    )


def test_nothing_answered_is_zero_not_undefined() -> None:
    result = score_indicator(BINARY, outcomes(BINARY, [("yes", None), ("no", None)]))
    assert (result.answered, result.unanswered) == (0, 2)
    assert value(result.f1) == value(result.macro_f1) == value(result.accuracy) == 0.0


def test_faultless_answers_on_few_conversations_are_no_certainty() -> None:
    few = score_indicator(BINARY, outcomes(BINARY, [("yes", "yes"), ("no", "no")] * 5))
    many = score_indicator(BINARY, outcomes(BINARY, [("yes", "yes"), ("no", "no")] * 100))
    for figure in ("f1", "macro_f1", "accuracy"):
        narrow, wide = getattr(many, figure), getattr(few, figure)
        assert wide.value == narrow.value == wide.high == 1.0
        assert 0.5 < wide.low < narrow.low < 0.995


@settings(deadline=None, max_examples=50)
@given(pairs_of(INTENT))
def test_every_value_lies_in_its_interval_and_is_json(pairs: list[Pair]) -> None:
    result = score_indicator(INTENT, outcomes(INTENT, pairs))
    for estimate in (result.f1, result.macro_f1, result.accuracy):
        if estimate is not None:
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["support"] == len(pairs)


@settings(deadline=None, max_examples=50)
@given(pairs_of(BINARY))
def test_binary_f1_is_scikit_learns(pairs: list[Pair]) -> None:
    result = score_indicator(BINARY, outcomes(BINARY, pairs))
    right = [label for label, _ in pairs]
    if "yes" in right:
        answers = [label or "unanswered" for _, label in pairs]
        expected = f1_score(right, answers, labels=["yes"], average="macro", zero_division=0.0)
        assert value(result.f1) == pytest.approx(expected)
