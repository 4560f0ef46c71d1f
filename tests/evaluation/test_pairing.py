from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.evaluation import Predictions, compare_paired, score_indicator
from descant.schema.errors import InvalidData
from tests.evaluation.outcomes import BINARY, INTENT, Pair, outcomes, pairs_of

BOTH = (BINARY, INTENT)
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
