from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.evaluation import Unscored, compare_orders, order_score, rouge_l

things = st.sampled_from(["onions", "pickles", "ice", "cheese", "sugar"])
items = st.sampled_from(["burger", "cola", "salad"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("burger, no onions", "burger without onions"),
        ("A burger, please, hold the onions.", "burger w/o onions"),
        ("a burger with no onions and a cola", "cola; burger, no onions"),
        ("burger, no onions or pickles", "burger, no pickles, no onions"),
        ("burger, I don't want onions", "burger, no onions"),
        ("burger onions-free", "burger no onions"),
        ("two burgers, extra cheese", "2 burgers with cheese"),
    ],
)
def test_the_same_order_in_other_words(one: str, other: str) -> None:
    found = compare_orders(one, other)
    assert found.is_exact, found
    assert found.lost_negations == found.false_negations == ()


@pytest.mark.parametrize(
    ("expected", "output", "lost", "false"),
    [
        ("burger, no onions", "burger, onions", ("burger: onions",), ()),
        ("burger, no onions", "burger", ("burger: onions",), ()),
        ("burger, no onions", "burger, extra onions", ("burger: onions",), ()),
        ("burger", "burger, no onions", (), ("burger: onions",)),
        ("burger, no onions", "burger, no pickles", ("burger: onions",), ("burger: pickles",)),
        # Moved to another item.
        ("burger, no ice and cola", "burger and cola, no ice", ("burger: ice",), ("cola: ice",)),
    ],
)
def test_a_negation_that_is_lost_made_up_or_moved(
    expected: str, output: str, lost: tuple[str, ...], false: tuple[str, ...]
) -> None:
    found = compare_orders(expected, output)
    assert not found.is_exact
    assert (found.lost_negations, found.false_negations) == (lost, false)


@given(items, things, st.lists(things, max_size=3))
def test_a_lost_no_is_never_right_however_much_else_is(
    item: str, thing: str, others: list[str]
) -> None:
    extras = "".join(f", extra {other}" for other in others if other != thing)
    asked, heard = f"{item}, no {thing}{extras}", f"{item}, {thing}{extras}"
    assert compare_orders(asked, asked).is_exact
    found = compare_orders(asked, heard)
    assert found.score == 0.0
    assert found.lost_negations == (f"{item}: {thing}",)
    # What overlap of words makes of it.
    assert rouge_l(asked, heard) >= 0.8


def test_no_order_is_unscored() -> None:
    assert order_score("burger", None) == Unscored("no output")
    assert order_score("burger", "burger") == 1.0
