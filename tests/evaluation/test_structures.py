from __future__ import annotations

import pytest

from descant.evaluation import exact_match, format_validity, slot_scores
from descant.schema.errors import InvalidData

ORDER = {"item": "burger", "size": "large", "extras": ["cheese", "bacon"]}


def test_an_exact_match_is_of_names_and_values_in_any_order() -> None:
    assert (
        exact_match(ORDER, {"extras": ["bacon", "cheese"], "size": "large", "item": "burger"}) == 1
    )
    assert exact_match(ORDER, {**ORDER, "size": "small"}) == 0
    assert exact_match({"count": 1}, {"count": "1"}) == 0
    assert exact_match({"a": {"b": 1}}, {"a": {"b": 1}}) == 1


def test_slots_are_counted_over_all_rows() -> None:
    found = slot_scores([ORDER, ORDER], [{**ORDER, "extras": ["cheese"]}, {"item": "pizza"}])
    assert found.precision is not None
    assert found.recall is not None
    assert found.f1 is not None
    assert found.precision.value == pytest.approx(3 / 4)
    assert found.recall.value == pytest.approx(3 / 8)
    assert found.f1.value == pytest.approx(6 / 12)
    assert found.f1.low <= found.f1.value <= found.f1.high


def test_a_missing_output_misses_its_slots_and_is_counted() -> None:
    found = slot_scores([ORDER, ORDER], [ORDER, None])
    assert (found.rows, found.unscored) == (2, 1)
    assert found.recall is not None
    assert found.recall.value == 0.5
    nothing = slot_scores([ORDER], [None])
    assert nothing.precision is None
    assert slot_scores([], []).f1 is None
    with pytest.raises(InvalidData, match="0 outputs for 1"):
        slot_scores([ORDER], [])


def test_a_format_is_right_or_not() -> None:
    found = format_validity(['{"a": 1}', "{a: 1}", "NaN", "[]"])
    assert found.mean is not None
    assert found.mean.value == 0.5
    own = format_validity(["yes", "maybe"], lambda text: None if text == "yes" else "not a label")
    assert own.mean is not None
    assert own.mean.value == 0.5
