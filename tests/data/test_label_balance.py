from __future__ import annotations

import pytest

from descant.data import (
    LabelBalance,
    check_learnable,
    count_labels,
    label_names,
    unlabelled_ids,
)
from descant.schema.errors import InvalidData
from tests.data.rows import call, yes_no

INDICATORS = [yes_no("greeting"), yes_no("refund_offered")]


def test_labels_are_counted_in_the_order_of_the_indicator() -> None:
    rows = [
        call("1", labels={"greeting": "yes", "refund_offered": "no"}),
        call("2", labels={"greeting": "yes", "refund_offered": None, "mood": "good"}),
        call("3"),
    ]
    greeting, refund = count_labels(rows, INDICATORS)
    assert greeting == LabelBalance("greeting", {"no": 0, "yes": 2}, 1)
    assert list(greeting.counts) == ["no", "yes"]
    assert refund == LabelBalance("refund_offered", {"no": 1, "yes": 0}, 2)
    assert label_names(rows) == {"greeting": 2, "refund_offered": 1, "mood": 1}
    assert unlabelled_ids(rows, INDICATORS) == ("3",)


@pytest.mark.parametrize(("count", "warns"), [(9, True), (10, False)])
def test_few_conversations_with_a_label_are_a_warning(count: int, warns: bool) -> None:
    counted = LabelBalance("greeting", {"no": 50, "yes": count}, 0)
    assert (counted.warning == f"few conversations to learn from: 'yes' {count}") == warns
    assert (counted.warning is None) != warns


def test_what_cannot_be_learned_is_refused_all_at_once() -> None:
    rows = [call(str(at), labels={"greeting": "no", "refund_oferred": "no"}) for at in range(3)]
    with pytest.raises(InvalidData) as caught:
        check_learnable(rows, INDICATORS)
    said = str(caught.value)
    assert "labels.greeting: all 3 labels are 'no'; there is nothing to tell apart." in said
    assert "labels.refund_offered: no conversation has a label for 'refund_offered'." in said
    assert "Did you mean 'refund_oferred'?" in said


def test_two_labels_are_enough_to_learn() -> None:
    rows = [call("1", labels={"greeting": "no"}), call("2", labels={"greeting": "yes"})]
    check_learnable(rows, INDICATORS[:1])
