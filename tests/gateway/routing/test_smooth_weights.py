from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.routing.smooth_weights import SmoothWeights

WEIGHTS = st.lists(st.integers(1, 20), min_size=1, max_size=6)


@given(WEIGHTS, st.integers(1, 200))
def test_after_any_number_of_turns_each_has_had_its_share(weights: list[int], turns: int) -> None:
    named = {f"u{number}": float(weight) for number, weight in enumerate(weights)}
    smooth = SmoothWeights()
    taken = Counter(smooth.order("polite", named)[0] for _ in range(turns))
    for name, weight in named.items():
        share = turns * weight / sum(weights)
        assert taken[name] - share < 1
        assert share - taken[name] < max(1, len(weights) - 1)


@given(st.lists(st.sampled_from(["polite", "refund", "polite", "hold"]), max_size=60))
def test_a_model_takes_turns_as_if_it_were_alone(asked: list[str]) -> None:
    weights = {"a": 1.0, "b": 2.0}
    shared = SmoothWeights()
    alone = {model: SmoothWeights() for model in asked}
    for model in asked:
        assert shared.order(model, weights) == alone[model].order(model, weights)


@given(st.lists(st.sets(st.sampled_from("abcd"), min_size=1), min_size=1, max_size=100))
def test_turns_of_any_present_upstreams_owe_nothing(sequence: list[set[str]]) -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    smooth = SmoothWeights()
    for present in sequence:
        order = smooth.order("polite", {name: weights[name] for name in sorted(present)})
        assert set(order) == present
    credits = smooth._credits["polite"]
    assert abs(sum(credits.values())) < 1e-9
    assert min(credits.values()) > -sum(weights.values())


def test_turns_are_mixed_not_in_rows() -> None:
    smooth = SmoothWeights()
    turns = [smooth.order("polite", {"a": 5.0, "b": 1.0, "c": 1.0})[0] for _ in range(7)]
    assert turns == ["a", "a", "b", "a", "c", "a", "a"]


def test_names_made_up_by_callers_do_not_pile_up() -> None:
    smooth = SmoothWeights()
    for number in range(3_000):
        smooth.order(f"model-{number}", {"a": 1.0})
    assert len(smooth._credits) <= 1024
