from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.failures.rolling_count import RollingCount

PAUSES = st.lists(st.one_of(st.just(0.0), st.floats(0, 3), st.floats(0, 100)), max_size=80)


def slow_total(events_s: list[float], now_s: float) -> int:
    return sum(math.floor(at_s) > math.floor(now_s) - 10 for at_s in events_s)


@given(PAUSES)
def test_it_counts_what_a_list_would(pauses_s: list[float]) -> None:
    count, now_s, events_s = RollingCount(10.0, 10), 0.0, []
    for number, pause_s in enumerate(pauses_s):
        now_s += pause_s
        if number % 3:
            count.add(now_s)
            events_s.append(now_s)
        assert count.total(now_s) == slow_total(events_s, now_s)


def test_what_is_older_than_the_window_is_gone() -> None:
    count = RollingCount(10.0)
    count.add(1e9)
    assert count.total(1e9 + 8.9) == 1
    assert count.total(1e9 + 10) == 0
    count.add(1e9 + 10)
    count.clear()
    assert count.total(1e9 + 10) == 0
