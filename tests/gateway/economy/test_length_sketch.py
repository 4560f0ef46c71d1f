from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.economy.frequent_prefixes import FrequentPrefixes
from descant.gateway.economy.length_sketch import LengthSketch
from descant.gateway.economy.max_tokens_advice import LEAST_ANSWERS, AnswerLengths


@given(
    st.lists(st.integers(0, 200_000), min_size=1, max_size=200),
    st.sampled_from([0.01, 0.5, 0.9, 0.995, 1.0]),
)
def test_quantiles_are_those_of_the_sorted_list_within_two_per_cent(
    lengths: list[int], share: float
) -> None:
    sketch = LengthSketch()
    for length in lengths:
        sketch.add(length)
    exact = sorted(lengths)[math.ceil(share * len(lengths)) - 1]
    assert sketch.quantile(share) == pytest.approx(exact, rel=0.02)


def test_its_memory_is_bounded() -> None:
    sketch = LengthSketch()
    for length in range(100_000):
        sketch.add(length)
    assert len(sketch._buckets) < 300
    assert LengthSketch().quantile(0.5) is None


def lengths(count: int, most_tokens: int = 500) -> AnswerLengths:
    seen = AnswerLengths()
    for number in range(count):
        seen.add(min(most_tokens, number % 100 + 1), most_tokens)
    return seen


def test_advice_is_the_longest_usual_answer_and_a_quarter_more() -> None:
    advice = lengths(2000).advice()
    assert advice is not None
    assert advice.tokens == pytest.approx(125, rel=0.03)
    assert advice.answers == 2000
    assert advice.median_tokens == pytest.approx(50, rel=0.02)
    assert advice.mean_allowed_tokens == 500
    assert "2,000" in advice.reason


def test_there_is_no_advice_from_few_answers_or_from_cut_ones() -> None:
    few, cut = lengths(LEAST_ANSWERS - 1).advice(), lengths(2000, most_tokens=90).advice()
    assert few is not None
    assert cut is not None
    assert (few.tokens, cut.tokens) == (None, None)
    assert cut.cut == 220
    assert "cut off" in cut.reason
    assert AnswerLengths().advice() is None


@given(st.lists(st.integers(0, 3) | st.integers(10, 5000), min_size=30, max_size=1500))
def test_what_is_frequent_is_known_to_be(keys: list[int]) -> None:
    prefixes = FrequentPrefixes(least_share=0.2)
    for place, key in enumerate(keys, start=1):
        prefixes.count_request()
        is_constant = prefixes.observe(key)
        exact = keys[:place].count(key)
        if place >= 20 and exact >= 0.2 * place:
            assert is_constant
        if exact < (0.2 - 1 / 128) * place - 1:
            assert not is_constant
        assert len(prefixes._counts) <= 128


def test_a_beginning_that_is_no_longer_used_is_forgotten() -> None:
    prefixes = FrequentPrefixes(least_share=0.2)
    for key in [1] * 10_000 + [2] * 20_000:
        prefixes.count_request()
        prefixes.observe(key)
    prefixes.count_request()
    assert not prefixes.observe(1)
    assert prefixes.observe(2)
