from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.routing.opening_hours import OpeningHours

MINUTES = st.integers(0, 24 * 60 - 1)


def written(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


@pytest.mark.parametrize(
    ("text", "hour", "is_open"),
    [
        ("22-06", 23, True),
        ("22-06", 5.99, True),
        ("22-06", 6, False),
        ("22-06", 21.99, False),
        ("08:30-17", 8.4, False),
        ("08:30-17", 8.5, True),
        ("08-08", 3, True),
    ],
)
def test_hours(text: str, hour: float, is_open: bool) -> None:
    days_s = 20_000 * 86_400
    assert OpeningHours.parse(text).is_open(days_s + hour * 3600) is is_open


@given(MINUTES, MINUTES, st.integers(0, 2 * 86_400))
def test_hours_are_those_of_walking_the_day(opens: int, closes: int, time_s: int) -> None:
    hours = OpeningHours.parse(f"{written(opens)}-{written(closes)}")
    minute = opens
    walked = set()
    while True:
        walked.add(minute)
        minute = (minute + 1) % (24 * 60)
        if minute == closes:
            break
    assert hours.is_open(time_s) is ((time_s // 60) % (24 * 60) in walked)
    assert hours.is_open(time_s + hours.opens_in_s(time_s))
