from __future__ import annotations

import json

from descant.data import LabelBalance, Lengths, inspect_rows
from tests.data.rows import call, yes_no

ROWS = [
    call("1", "one two three", labels={"a": "yes", "b": "no"}),
    call("2", "one two three", labels={"a": "no", "b": None}),
    call("3", "four five six seven eight", labels={"a": "maybe"}),
]


def test_figures_of_a_file() -> None:
    found = inspect_rows(ROWS)
    assert (found.conversations, found.lengths) == (3, Lengths(3, 3, 4.8, 5))
    assert found.balance == (
        LabelBalance("a", {"maybe": 1, "no": 1, "yes": 1}, 0),
        LabelBalance("b", {"no": 1}, 2),
    )
    assert [group.ids for group in found.near_duplicates] == [("1", "2")]
    assert [conflict.indicator for conflict in found.conflicts] == ["a"]
    assert json.loads(json.dumps(found.to_json()))["lengths"]["longest"] == 5


def test_indicators_say_which_labels_there_should_be() -> None:
    (balance,) = inspect_rows(ROWS, [yes_no("a")]).balance
    assert balance.counts == {"no": 1, "yes": 1, "maybe": 1}
    assert balance.unknown == ("maybe",)


def test_another_file_is_compared_but_not_described() -> None:
    others = [call("2", "four five six seven eight"), call("x", "nine ten"), call("y", "nine ten")]
    found = inspect_rows(ROWS, against=others)
    assert (found.conversations, found.against, found.common_ids) == (3, 3, ("2",))
    assert [group.ids for group in found.near_duplicates] == [("1", "2"), ("3", "2")]
    assert [group.ids for group in found.shared_groups] == [("3", "2")]


def test_one_conversation_is_enough() -> None:
    assert inspect_rows([call("1", "Hello.")]).lengths == Lengths(1, 1, 1, 1)
