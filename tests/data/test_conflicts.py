from __future__ import annotations

from descant.data import Conflict, find_conflicts
from tests.data.rows import call


def test_the_same_words_with_different_labels_are_listed_by_indicator() -> None:
    rows = [
        call("1", "Hello.", "I want my money back!", labels={"refund": "yes", "polite": "yes"}),
        call("2", "hello", "I want my money back", labels={"refund": "no", "polite": "yes"}),
        call("3", "Hello.", "Something else.", labels={"refund": "no", "polite": "no"}),
        call("4", "Hello, I want my money back.", labels={"refund": "no", "polite": "no"}),
        call("5", "Hello.", "I want my money back!", labels={"refund": None}),
    ]
    assert find_conflicts(rows, ["polite", "refund", "other"]) == (
        Conflict("polite", {"yes": ("1", "2"), "no": ("4",)}),
        Conflict("refund", {"yes": ("1",), "no": ("2", "4")}),
    )


def test_texts_without_words_are_not_compared() -> None:
    rows = [call("1", "...", labels={"a": "yes"}), call("2", "?", labels={"a": "no"})]
    assert find_conflicts(rows, ["a"]) == ()
