"""Verdicts of two orders, and agreement with people that a few lucky pairs do not show."""

from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from descant.evaluation import (
    PAIR_LABELS,
    JudgedPair,
    PairLabel,
    PairTally,
    Unscored,
    judge_agreement,
)
from descant.schema.errors import InvalidData

SAID: tuple[PairLabel | None, ...] = (*PAIR_LABELS, None)
PAIRS = st.builds(JudgedPair, st.sampled_from(SAID), st.sampled_from(SAID))


def told(label: PairLabel) -> JudgedPair:
    """A judge that keeps to its verdict when the places change."""
    turned: dict[PairLabel, PairLabel] = {"first": "second", "second": "first", "tie": "tie"}
    return JudgedPair(label, turned[label])


@pytest.mark.parametrize(("as_given", "swapped"), list(product(SAID, SAID)))
def test_a_verdict_holds_in_both_orders_or_is_a_tie(
    as_given: PairLabel | None, swapped: PairLabel | None
) -> None:
    pair = JudgedPair(as_given, swapped, "cut off")
    if as_given is None or swapped is None:
        assert pair.verdict == Unscored("cut off")
        assert not pair.depends_on_order
    elif (as_given, swapped) in (("first", "second"), ("second", "first"), ("tie", "tie")):
        assert pair.verdict == as_given
        assert not pair.depends_on_order
    else:
        assert pair.verdict == "tie"
        assert pair.depends_on_order


@given(st.lists(PAIRS, max_size=30))
def test_every_pair_is_counted_once_and_sides_change_places(pairs: list[JudgedPair]) -> None:
    tally = PairTally.of(pairs)
    assert tally.judged + tally.unjudged == len(pairs)
    assert tally.depends_on_order <= tally.ties
    assert sum(tally.reasons.values()) == tally.unjudged
    turned = PairTally.of([JudgedPair(pair.swapped, pair.as_given) for pair in pairs])
    assert (turned.wins, turned.losses, turned.ties) == (tally.losses, tally.wins, tally.ties)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn_with_what_was_not_judged_as_a_verdict_of_its_own(
    seed: int,
) -> None:
    chance = random.Random(seed)
    people = [chance.choice(PAIR_LABELS) for _ in range(80)]
    judged = [
        told(label) if chance.random() < 0.7 else JudgedPair(chance.choice(SAID), None)
        for label in people
    ]
    found = judge_agreement(people, judged)
    assert found is not None
    assert found.kappa is not None
    verdicts = ["none" if isinstance(v := pair.verdict, Unscored) else v for pair in judged]
    assert found.kappa.value == pytest.approx(cohen_kappa_score(people, verdicts))
    assert found.agreed == pytest.approx(
        sum(a == b for a, b in zip(people, verdicts, strict=True)) / 80
    )
    assert found.unjudged == verdicts.count("none")
    assert found.lower_bound is not None
    assert found.lower_bound <= found.kappa.low


def test_never_to_have_differed_on_few_pairs_shows_little() -> None:
    bounds = []
    for count in (6, 30, 300):
        people = [PAIR_LABELS[at % 3] for at in range(count)]
        found = judge_agreement(people, [told(label) for label in people])
        assert found is not None
        assert found.kappa is not None
        assert found.lower_bound is not None
        assert found.kappa.low == 1.0
        bounds.append(found.lower_bound)
    assert bounds == sorted(bounds)
    assert bounds[0] < 0.6 < bounds[1] < 0.99 > bounds[0]
    assert bounds[2] > 0.97


def test_a_judge_that_always_likes_the_first_place_agrees_by_chance_alone() -> None:
    people: list[PairLabel] = ["first", "second", "tie"] * 20
    found = judge_agreement(people, [JudgedPair("first", "first")] * 60)
    assert found is not None
    assert found.depends_on_order == 60
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(0)


def test_one_verdict_for_everything_has_no_kappa_and_nothing_no_agreement() -> None:
    assert judge_agreement([], []) is None
    found = judge_agreement(["tie"] * 9, [told("tie")] * 9)
    assert found is not None
    assert found.kappa is None
    assert found.lower_bound is None
    with pytest.raises(InvalidData, match="1 pairs judged of 2"):
        judge_agreement(["tie", "tie"], [told("tie")])
