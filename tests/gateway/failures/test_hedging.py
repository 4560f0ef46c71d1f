from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.failures.first_byte_times import FirstByteTimes
from descant.gateway.failures.hedging import HedgeRules, Hedging

RULES = HedgeRules(share=0.1, least_times=20, window_s=10.0)


def warm(rules: HedgeRules = RULES, time_s: float = 0.5) -> Hedging:
    hedging = Hedging(rules)
    for _ in range(100):
        hedging.note_first_byte(time_s)
    return hedging


@given(
    st.lists(st.floats(0.001, 900), min_size=1, max_size=499),
    st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
def test_a_quantile_is_that_of_the_sorted_times(times_s: list[float], share: float) -> None:
    times = FirstByteTimes()
    for time_s in times_s:
        times.add(time_s)
    exact_s = sorted(times_s)[max(1, math.ceil(share * len(times_s))) - 1]
    found_s = times.quantile_s(share)
    assert found_s is not None
    assert exact_s <= found_s * (1 + 1e-9)
    assert found_s <= exact_s * 1.1 * (1 + 1e-9)


def test_only_the_latest_times_count() -> None:
    times = FirstByteTimes()
    assert times.quantile_s(0.95) is None
    for time_s, number in ((30.0, 5000), (0.1, 1000)):
        for _ in range(number):
            times.add(time_s)
        assert 500 <= len(times) <= 1000
    times.add(0.1)
    assert len(times) == 501, "the generation before still counts"
    assert times.quantile_s(1.0) == pytest.approx(0.1, rel=0.1)
    times.add(1e6)
    times.add(0.0)
    assert times.quantile_s(1.0) is not None


def test_a_second_is_asked_after_most_have_answered() -> None:
    hedge = warm().begin(10.0)
    assert hedge.due_s == pytest.approx(10.5, rel=0.01)
    assert not hedge.take(10.4)


def test_a_route_that_does_not_allow_it_is_never_hedged() -> None:
    assert warm(HedgeRules()).begin(0.0).due_s is None


def test_nothing_is_late_before_enough_was_seen_or_before_the_floor() -> None:
    few = Hedging(RULES)
    for _ in range(19):
        few.note_first_byte(0.5)
    assert few.begin(0.0).due_s is None
    assert warm(time_s=0.001).begin(0.0).due_s == RULES.least_wait_s


def test_never_after_a_first_byte_and_never_twice() -> None:
    hedging = warm()
    for _ in range(100):
        hedge = hedging.begin(0.0)
    hedge.first_byte(0.6)
    assert not hedge.take(5.0)
    other = hedging.begin(0.0)
    assert other.take(5.0)
    assert not other.take(5.0)


@given(st.lists(st.booleans(), max_size=150))
def test_hedges_never_pass_their_own_budget(takes: list[bool]) -> None:
    hedging, num_hedges = warm(), 0
    for num_requests, take in enumerate(takes, start=1):
        hedge = hedging.begin(1.0)
        num_hedges += take and hedge.take(9.0)
        assert num_hedges <= RULES.share * num_requests
