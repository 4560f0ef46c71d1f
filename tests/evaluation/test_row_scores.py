from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.evaluation import Unscored, mean_score, rouge_l, score_rows
from descant.evaluation.free_text import common_length
from descant.evaluation.row_scores import RowScore
from descant.schema.errors import InvalidData

words = st.lists(st.sampled_from("abc"), max_size=8)
scores = st.lists(st.one_of(st.floats(0, 1), st.just(Unscored("no output"))), max_size=30)


def slow_length(one: list[str], other: list[str]) -> int:
    if not one or not other:
        return 0
    if one[-1] == other[-1]:
        return slow_length(one[:-1], other[:-1]) + 1
    return max(slow_length(one[:-1], other), slow_length(one, other[:-1]))


@settings(deadline=None)
@given(words, words)
def test_the_common_part_is_that_of_the_plain_recursion(one: list[str], other: list[str]) -> None:
    assert common_length(one, other) == slow_length(one, other)


@given(st.text("ab, ", max_size=12), st.text("ab, ", max_size=12))
def test_rouge_turns_with_the_sides_and_is_one_for_the_same(one: str, other: str) -> None:
    assert rouge_l(one, other) == rouge_l(other, one)
    assert rouge_l(one, one) == 1.0
    assert 0 <= rouge_l(one, other) <= 1


@settings(deadline=None)
@given(scores)
def test_no_row_is_lost_and_none_without_a_score_counts_as_zero(rows: list[RowScore]) -> None:
    found = mean_score(rows)
    known = [row for row in rows if not isinstance(row, Unscored)]
    assert (found.scored, found.unscored) == (len(known), len(rows) - len(known))
    assert sum(found.reasons.values()) == found.unscored
    if known:
        assert found.mean is not None
        assert found.mean.value == pytest.approx(math.fsum(known) / len(known))
        assert found.mean.low <= found.mean.value <= found.mean.high
    else:
        assert found.mean is None
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -0.1, 1.1])
def test_what_is_no_score_is_refused(wrong: float) -> None:
    with pytest.raises(InvalidData, match="from 0 to 1"):
        mean_score([0.5, wrong])


def test_outputs_that_are_missing_are_unscored() -> None:
    found = score_rows(["the cat", "a dog"], ["the cat", None], rouge_l)
    assert found.mean is not None
    assert (found.mean.value, found.unscored, dict(found.reasons)) == (1.0, 1, {"no output": 1})
    with pytest.raises(InvalidData, match="1 outputs for 2"):
        score_rows(["a", "b"], ["a"], rouge_l)
