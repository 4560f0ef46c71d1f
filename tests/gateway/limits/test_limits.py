"""What every place that keeps limits must do, one rule a test."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from descant.gateway.limits import (
    Amounts,
    Budget,
    Claim,
    InProcessLimits,
    Rate,
    Refusal,
    Reservation,
)
from descant.schema.errors import InvalidConfig
from tests.gateway.limits.places import LEASE_S, START_US, InProcess, Place

SECOND_US = 1_000_000
TOKENS = Claim("key:a", (Rate("tokens", 100),))


def reserve(
    place: Place, *claims: Claim, tokens: int = 0, money_nano: int = 0
) -> Reservation | Refusal:
    most = Amounts(tokens=tokens, money_nano=money_nano)
    return place.do(place.limits.reserve(claims, most))


def about(wait: timedelta) -> Any:
    return pytest.approx(wait.total_seconds(), abs=1e-5)


def taken(answer: Reservation | Refusal) -> Reservation:
    assert isinstance(answer, Reservation)
    return answer


def refused(answer: Reservation | Refusal) -> Refusal:
    assert isinstance(answer, Refusal)
    return answer


def test_one_scope_without_room_and_no_scope_is_taken_from(place: Place) -> None:
    tight = Claim("tenant:b", (Rate("tokens", 10),))
    assert refused(reserve(place, TOKENS, tight, tokens=11)).scope == "tenant:b"
    assert taken(reserve(place, TOKENS, tokens=100))


def test_the_longest_wait_is_named_and_is_true(place: Place) -> None:
    later = Claim("tenant:b", (Rate("tokens", 100),))
    taken(reserve(place, TOKENS, tokens=100))
    place.set_clock(START_US + 20 * SECOND_US)
    taken(reserve(place, later, tokens=100))
    refusal = refused(reserve(place, TOKENS, later, tokens=1))
    assert (refusal.scope, refusal.kind, refusal.limit) == ("tenant:b", "tokens", 100)
    # A minute, and what is left of its slot of 0.6 s: the 34th ends at 20.4.
    assert refusal.wait_s == pytest.approx(60.4)
    back_us = START_US + 20 * SECOND_US + math.ceil(refusal.wait_s * SECOND_US)
    place.set_clock(back_us - 2)
    refused(reserve(place, TOKENS, later, tokens=1))
    place.set_clock(back_us)
    taken(reserve(place, TOKENS, later, tokens=1))


def test_a_request_larger_than_the_limit_never_passes(place: Place) -> None:
    refusal = refused(reserve(place, TOKENS, tokens=101))
    assert math.isinf(refusal.wait_s)
    assert refusal.retry_after_s is None


def test_what_was_not_used_is_back_at_once(place: Place) -> None:
    first = taken(reserve(place, TOKENS, tokens=100))
    place.do(place.limits.settle(first, Amounts(tokens=30)))
    refused(reserve(place, TOKENS, tokens=71))
    taken(reserve(place, TOKENS, tokens=70))


def test_what_was_used_beyond_is_taken_too(place: Place) -> None:
    first = taken(reserve(place, TOKENS, tokens=60))
    place.do(place.limits.settle(first, Amounts(tokens=90)))
    refused(reserve(place, TOKENS, tokens=11))
    taken(reserve(place, TOKENS, tokens=10))


def test_only_the_first_end_counts(place: Place) -> None:
    claim = Claim("key:a", (Rate("tokens", 100),), 1, (Budget("day", 100),))
    first = taken(reserve(place, claim, tokens=50, money_nano=50))
    place.do(place.limits.settle(first, Amounts(tokens=50, money_nano=40)))
    second = taken(reserve(place, claim, tokens=20, money_nano=60))
    place.do(place.limits.settle(first, Amounts(tokens=90, money_nano=40)))
    place.do(place.limits.release(first))
    assert refused(reserve(place, claim)).kind == "concurrency"
    place.do(place.limits.settle(second, Amounts(tokens=20, money_nano=30)))
    assert refused(reserve(place, claim, tokens=31)).kind == "tokens"
    assert refused(reserve(place, claim, money_nano=31)).kind == "money"
    taken(reserve(place, claim, tokens=30, money_nano=30))


def test_a_release_gives_everything_back(place: Place) -> None:
    claim = Claim(
        "key:a", (Rate("requests", 1), Rate("tokens", 9)), 1, (Budget("day", 7), Budget("month", 7))
    )
    for _ in range(3):
        full = taken(reserve(place, claim, tokens=9, money_nano=7))
        place.do(place.limits.release(full))


def test_a_burst_spreads_the_minute(place: Place) -> None:
    claim = Claim("upstream:own", (Rate("requests", 120), Rate("requests", 2, SECOND_US, True)))
    passed = 0
    for tenth in range(100):
        place.set_clock(START_US + tenth * 100_000)
        passed += isinstance(reserve(place, claim), Reservation)
    # Two, and two again in the first tenths after a second and a slot: 0.0, 0.1, 1.1, … 9.9.
    assert passed == 19


def test_a_request_larger_than_a_burst_passes_alone(place: Place) -> None:
    claim = Claim("upstream:own", (Rate("tokens", 600), Rate("tokens", 10, SECOND_US, True)))
    taken(reserve(place, claim, tokens=500))
    refusal = refused(reserve(place, claim, tokens=1))
    assert (refusal.limit, refusal.per) == (10, "in 1 s")
    place.set_clock(START_US + math.ceil(refusal.wait_s * SECOND_US))
    taken(reserve(place, claim, tokens=1))
    refused(reserve(place, claim, tokens=20))


def test_a_lease_that_nobody_ends_lapses(place: Place) -> None:
    claim = Claim("key:a", (), 1, (Budget("day", 10),))
    lost = taken(reserve(place, claim, money_nano=10))
    # Past midnight already, so that the day is the same until the end.
    assert refused(reserve(place, claim)).kind == "concurrency"
    place.set_clock(START_US + int(LEASE_S * SECOND_US) - 1)
    refused(reserve(place, claim))
    place.set_clock(START_US + int(LEASE_S * SECOND_US))
    second = taken(reserve(place, claim, money_nano=10))
    # It ended after all: its money was spent, but the place it held is another's.
    place.do(place.limits.settle(lost, Amounts(money_nano=4)))
    assert refused(reserve(place, claim)).kind == "concurrency"
    place.do(place.limits.release(second))
    refused(reserve(place, claim, money_nano=7))
    taken(reserve(place, claim, money_nano=6))


def test_money_is_back_on_the_next_day_and_in_the_next_month(place: Place) -> None:
    noon = datetime(2028, 2, 28, 12, tzinfo=UTC)
    claims = (
        Claim("key:a", (), None, (Budget("day", 10),)),
        Claim("tenant:b", (), None, (Budget("month", 15),)),
    )
    for at, wait in [
        (noon, timedelta(hours=12)),
        (noon + timedelta(days=1), timedelta(hours=12)),
        (noon + timedelta(days=2), timedelta(hours=12)),
    ]:
        place.set_clock(int(at.timestamp()) * SECOND_US)
        day = taken(reserve(place, claims[0], money_nano=10))
        place.do(place.limits.settle(day, Amounts(money_nano=10)))
        assert refused(reserve(place, claims[0], money_nano=1)).wait_s == about(wait)
    month = taken(reserve(place, claims[1], money_nano=15))
    place.do(place.limits.settle(month, Amounts(money_nano=15)))
    left = datetime(2028, 4, 1, tzinfo=UTC) - datetime(2028, 3, 1, 12, tzinfo=UTC)
    assert refused(reserve(place, claims[1], money_nano=1)).wait_s == about(left)
    place.set_clock(int(datetime(2028, 4, 1, tzinfo=UTC).timestamp()) * SECOND_US)
    taken(reserve(place, claims[1], money_nano=15))


def test_every_month_ends_when_the_calendar_says(place: Place) -> None:
    claim = Claim("key:a", (), None, (Budget("month", 1),))
    for months in range(0, 30 * 12, 7):
        year, month = 2026 + months // 12, 1 + months % 12
        first = date(year, month, 1)
        following = date(year + month // 12, month % 12 + 1, 1)
        for day in (first, following - timedelta(days=1)):
            midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
            place.set_clock(midnight * SECOND_US)
            place.do(place.limits.seed("key:a", "month", first, 1))
            wait_s = refused(reserve(place, claim, money_nano=1)).wait_s
            assert wait_s == about(following - day)


def test_a_seed_only_ever_raises_what_is_spent_now(place: Place) -> None:
    claim = Claim("key:a", (), None, (Budget("day", 10),))
    today = datetime.fromtimestamp(START_US // SECOND_US, UTC).date()
    place.do(place.limits.seed("key:a", "day", today, 6))
    place.do(place.limits.seed("key:a", "day", today, 2))
    place.do(place.limits.seed("key:a", "day", today - timedelta(days=1), 10))
    place.do(place.limits.seed("key:a", "month", today, 10))
    refused(reserve(place, claim, money_nano=5))
    taken(reserve(place, claim, money_nano=4))


def test_headers_tell_of_the_tightest_scope(place: Place) -> None:
    wide = Claim("tenant:b", (Rate("tokens", 500), Rate("requests", 2)))
    headers = taken(reserve(place, TOKENS, wide, tokens=30)).headers()
    assert headers.pop("x-ratelimit-reset-tokens").endswith("s")
    assert headers.pop("x-ratelimit-reset-requests").endswith("s")
    assert headers == {
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "70",
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "1",
    }
    refusal = refused(reserve(place, TOKENS, wide, tokens=90))
    assert refusal.headers()["x-ratelimit-remaining-tokens"] == "70"


def test_a_limit_that_was_lowered_counts_at_once(place: Place) -> None:
    taken(reserve(place, TOKENS, tokens=60))
    learned = Claim("key:a", (Rate("tokens", 50),))
    refused(reserve(place, learned, tokens=1))
    taken(reserve(place, TOKENS, tokens=40))


def test_scopes_that_nobody_asks_for_are_forgotten() -> None:
    place = InProcess()
    for number in range(2_000):
        place.set_clock(START_US + number * SECOND_US)
        claims = [Claim(f"key:{number}-{i}", (Rate("tokens", 9),), 2) for i in range(4)]
        done = taken(reserve(place, *claims, tokens=5))
        if number % 2:
            place.do(place.limits.settle(done, Amounts(tokens=5)))
    # Four a second: those of a minute and of a lease that lapses, and twice that until looked at.
    assert len(place.limits) < 4 * 2 * LEASE_S  # type: ignore[arg-type]
    place.close()


@pytest.mark.parametrize("lease_s", [0.0, 60.0])
def test_a_lease_outlasts_the_minute(lease_s: float) -> None:
    with pytest.raises(InvalidConfig, match="too short"):
        InProcessLimits(lease_s=lease_s)
