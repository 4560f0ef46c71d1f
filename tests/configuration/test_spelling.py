from __future__ import annotations

import pytest

from descant.configuration.spelling import did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("Yes", ["no", "yes"], "yes"),
        (" yse ", ["no", "yes"], "yes"),
        ("refund_ofered", ["refund_offered", "polite"], "refund_offered"),
        ("YES", ["Yes", "yes"], "Yes"),
    ],
)
def test_the_closest_word_is_named(word: str, known: list[str], meant: str) -> None:
    assert did_you_mean(word, known) == f"Did you mean {meant!r}?"


@pytest.mark.parametrize("known", [[], ["no", "yes"]])
def test_nothing_close_is_not_named(known: list[str]) -> None:
    assert did_you_mean("17", known) == ""
