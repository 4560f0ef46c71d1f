"""Cosines: those of the slow twin, and what has none is counted with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.evaluation import (
    MEASURES,
    Embedding,
    Outcome,
    Predictions,
    Unscored,
    build_report,
    cosine,
    cosine_scores,
)
from descant.schema import Answer, Indicator, unanswered
from descant.schema.errors import InvalidData

NUMBERS = st.lists(
    st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-3), min_size=3, max_size=3
)


class Letters:
    """Counts letters: vectors that can be checked by hand."""

    name = "letters"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str], /) -> list[Embedding]:
        self.asked += texts
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Embedding:
        if text == "?":
            return Unscored("no embedding: status 400")
        return np.array([text.count(each) for each in "abc"], dtype=np.float64)


@given(NUMBERS, NUMBERS)
def test_a_cosine_is_that_of_plain_sums(one: list[float], other: list[float]) -> None:
    found = cosine(np.array(one), np.array(other))
    lengths = math.hypot(*one) * math.hypot(*other)
    if lengths == 0:
        assert isinstance(found, Unscored)
    else:
        plain = sum(a * b for a, b in zip(one, other, strict=True)) / lengths
        assert found == pytest.approx(plain, abs=1e-9)
        assert not isinstance(found, Unscored)
        assert -1 <= found <= 1


def test_texts_are_scored_once_each_and_what_has_no_score_says_why() -> None:
    letters = Letters()
    expected = ["a", "a", "ab", "b", "c", "a"]
    written = ["a", "b", "a", None, "?", "zzz"]
    found = cosine_scores(expected, written, letters)
    assert found.mean is not None
    assert found.mean.value == pytest.approx((1 + 0 + math.sqrt(0.5)) / 3)
    assert found.mean.low <= found.mean.value <= found.mean.high
    assert (found.scored, found.unscored) == (3, 3)
    assert found.reasons == {
        "no output": 1,
        "no embedding: status 400": 1,
        "the embedding has no direction": 1,
    }
    assert len(letters.asked) == len(set(letters.asked))


def test_texts_that_point_the_other_way_are_below_nothing() -> None:
    class Signs(Letters):
        def _one(self, text: str) -> Embedding:
            return np.array([1.0 if text == "yes" else -1.0, 0.1 * len(text)])

    found = cosine_scores(["yes", "yes"], ["no", "nono"], Signs())
    assert found.mean is not None
    assert -1 <= found.mean.low <= found.mean.value < 0


def test_vectors_of_several_lengths_are_refused() -> None:
    with pytest.raises(InvalidData, match="differ in length"):
        cosine(np.ones(2), np.ones(3))
    with pytest.raises(InvalidData, match="1 texts for 2"):
        cosine_scores(["a", "b"], ["a"], Letters())


def test_a_report_has_it_beside_the_others_and_no_release_knows_it() -> None:
    reason = Indicator("reason", "Why?", (), (), "text", "reason", max_tokens=4)
    answers = [Answer("reason", "ab", {}, None, None), unanswered("reason", "too long")]
    outcomes = [Outcome(str(at), "reason", "a", each) for at, each in enumerate(answers)]
    predictions = Predictions("calls", tuple(outcomes))
    [with_it] = build_report([reason], predictions, {}, embedder=Letters()).texts
    [without] = build_report([reason], predictions, {}).texts
    assert without.similarity is None
    assert with_it.similarity is not None
    assert with_it.similarity.mean is not None
    assert with_it.similarity.mean.value == pytest.approx(math.sqrt(0.5))
    assert with_it.similarity.unscored == with_it.rouge_l.unscored == 1
    assert not {"cosine", "similarity"} & set(MEASURES)
