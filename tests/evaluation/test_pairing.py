from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.evaluation import Pairing, Predictions, Split, compare_paired, score_indicator
from descant.evaluation.measures import macro_f1
from descant.schema.errors import InvalidData
from tests.evaluation.outcomes import BINARY, INTENT, Pair, outcomes, pairs_of

BOTH = (BINARY, INTENT)
CORNERS = ((True, True), (True, False), (False, True), (False, False))
RIGHT: list[Pair] = [("yes", "yes"), ("no", "no")] * 15
HALF: list[Pair] = [("yes", "no"), ("no", "no")] * 15
NEVER: list[Pair] = [("ask", "ask")] * 3


def predictions(greeting: list[Pair], intent: list[Pair]) -> Predictions:
    return Predictions("calls", tuple(outcomes(BINARY, greeting) + outcomes(INTENT, intent)))


def test_equals_differ_by_nothing() -> None:
    found = compare_paired(BOTH, predictions(HALF, NEVER), predictions(HALF, NEVER))
    assert found is not None
    assert (found.difference.low, found.difference.value, found.difference.high) == (0, 0, 0)
    assert found.ratio is not None
    assert found.ratio.value == found.ratio.low == found.ratio.high == 1


def test_the_better_one_is_better_beyond_chance() -> None:
    found = compare_paired(BOTH, predictions(RIGHT, NEVER), predictions(HALF, NEVER))
    assert found is not None
    assert found.conversations == 30
    assert found.first == 1.0
    # The half that is wrong has F1 0 and the other one 2/3; the second indicator is right.
    assert found.second == pytest.approx((1 / 3 + 1) / 2)
    assert found.difference.value == pytest.approx(found.first - found.second)
    assert found.difference.low > 0
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(found.first / found.second)
    assert json.loads(json.dumps(found.to_json()))["conversations"] == 30


def test_what_is_hard_for_both_does_not_widen_the_interval() -> None:
    early, late = HALF[:10] + RIGHT[10:], RIGHT[:20] + HALF[20:]
    alike = compare_paired((BINARY,), predictions(early, []), predictions(early, []))
    apart = compare_paired((BINARY,), predictions(early, []), predictions(late, []))
    assert alike is not None
    assert apart is not None
    # As good as each other either way; only where they err differs.
    assert alike.difference.value == apart.difference.value == 0
    assert alike.difference.low == alike.difference.high == 0
    assert apart.difference.low < -0.1
    assert apart.difference.high > 0.1


@settings(max_examples=30, deadline=None)
@given(pairs=pairs_of(INTENT), data=st.data())
def test_means_are_those_of_each_completer_alone(pairs: list[Pair], data: st.DataObject) -> None:
    answers = st.sampled_from([*INTENT.labels, None])
    others = [(right, data.draw(answers)) for right, _ in pairs]
    found = compare_paired((INTENT,), predictions([], pairs), predictions([], others))
    assert found is not None
    for mean, said in ((found.first, pairs), (found.second, others)):
        alone = score_indicator(INTENT, outcomes(INTENT, said)).macro_f1
        assert alone is not None
        assert mean == pytest.approx(alone.value)
    assert found.difference.low <= found.difference.value <= found.difference.high
    assert (found.ratio is None) == (found.second == 0)
    assert np.isfinite(found.difference.low)


def test_nothing_is_compared_with_nothing_and_not_with_something_else() -> None:
    assert compare_paired(BOTH, predictions([], []), predictions([], [])) is None
    with pytest.raises(InvalidData, match="'greeting'"):
        compare_paired(BOTH, predictions(RIGHT, []), predictions(RIGHT[1:], []))


@settings(max_examples=30, deadline=None)
@given(pairs=pairs_of(INTENT), data=st.data())
def test_who_was_right_is_counted_one_question_at_a_time(
    pairs: list[Pair], data: st.DataObject
) -> None:
    answers = st.sampled_from([*INTENT.labels, None])
    others = [(right, data.draw(answers)) for right, _ in pairs]
    pairing = Pairing.of(BOTH, predictions(HALF, pairs), predictions(RIGHT, others))
    sides = zip([*HALF, *pairs], [*RIGHT, *others], strict=True)
    slow = [(one[0] == one[1], other[0] == other[1]) for one, other in sides]
    found = pairing.split()
    assert found == Split(*(slow.count(each) for each in CORNERS))
    assert found.total == len(slow)
    answered = pairing.counts("answered").sum(axis=0)
    missing = [(a[1] is None, b[1] is None) for a, b in zip(pairs, others, strict=True)]
    assert answered.tolist()[:2] == [missing.count((False, True)), missing.count((True, False))]


def test_one_indicator_some_conversations_and_clusters_are_parts_of_the_whole() -> None:
    pairing = Pairing.of(BOTH, predictions(HALF, NEVER), predictions(RIGHT, NEVER))
    alone = pairing.only("intent")
    assert (len(alone), alone.tallies.shape) == (3, (3, 2, 1, 3, 4))
    assert alone.split() == Split(3, 0, 0, 0)
    assert pairing.pick({"0", "2", "99"}).ids == ("0", "2")
    parity = {str(at): "even" if at % 2 == 0 else "odd" for at in range(30)}
    clustered = pairing.clustered(parity)
    assert clustered.ids == ("even", "odd")
    np.testing.assert_array_equal(clustered.tallies.sum(axis=0), pairing.tallies.sum(axis=0))
    np.testing.assert_array_equal(clustered.values(macro_f1), pairing.values(macro_f1))
    assert pairing.clustered({}) is pairing


def test_a_sharper_interval_can_be_asked_for() -> None:
    pairing = Pairing.of((BINARY,), predictions(HALF, []), predictions(RIGHT, []))
    wide, plain = (pairing.difference(macro_f1, confidence=c, method="bca") for c in (0.99, 0.9))
    assert wide is not None
    assert plain is not None
    assert wide.low < plain.low < plain.value < plain.high < wide.high
