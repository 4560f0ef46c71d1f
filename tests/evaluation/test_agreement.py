from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from descant.evaluation import agreement
from descant.schema.errors import InvalidData

GRADES = ("low", "mid", "high")
pairs = st.lists(st.tuples(st.sampled_from(GRADES), st.sampled_from(GRADES)), min_size=2)


@settings(deadline=None, max_examples=30)
@given(pairs, st.sampled_from(["none", "linear", "quadratic"]))
def test_kappa_is_scikit_learns(rated: list[tuple[str, str]], weights: str) -> None:
    one, other = ([pair[at] for pair in rated] for at in (0, 1))
    found = agreement(GRADES, one, other, weights)  # type: ignore[arg-type]
    assert found is not None
    if len(set(one)) > 1 and len(set(other)) > 1:
        expected = cohen_kappa_score(
            one, other, labels=GRADES, weights=None if weights == "none" else weights
        )
        assert found.kappa is not None
        assert found.kappa.value == pytest.approx(expected)
        assert -1 <= found.kappa.low <= found.kappa.value <= found.kappa.high <= 1


def test_rows_that_only_one_has_labelled_are_counted_and_left_out() -> None:
    one, other = ["low", None, "high", "mid"], ["low", "mid", None, "high"]
    found = agreement(GRADES, one, other)
    assert found is not None
    assert (found.rows, found.left_out, found.agreed) == (2, 2, 0.5)
    assert agreement(GRADES, [None], ["low"]) is None


def test_kappa_of_a_single_label_is_not_defined() -> None:
    found = agreement(GRADES, ["low"] * 5, ["low"] * 5)
    assert found is not None
    assert (found.agreed, found.kappa) == (1.0, None)


def test_mistakes_are_named() -> None:
    with pytest.raises(InvalidData, match="'great'"):
        agreement(GRADES, ["great"], ["low"])
    with pytest.raises(InvalidData, match="2 rows"):
        agreement(GRADES, ["low", "low"], ["low"])
