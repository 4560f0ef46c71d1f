from __future__ import annotations

import pytest

from descant.gateway.config import LimitConfig
from descant.gateway.limits import Amounts, Budget, Claim, Rate
from descant.gateway.limits.reservation import Refusal
from descant.schema.errors import InvalidConfig

LIMITS = LimitConfig(
    requests_per_minute=90,
    tokens_per_minute=6_000,
    concurrency=8,
    money_per_day=0.1,
    money_per_month=2.5,
)


def test_a_claim_holds_what_the_file_says() -> None:
    claim = Claim.of("key:team", LIMITS)
    assert claim.rates == (Rate("requests", 90), Rate("tokens", 6_000))
    assert claim.concurrency == 8
    assert claim.budgets == (Budget("day", 100_000_000), Budget("month", 2_500_000_000))


def test_what_has_no_limit_claims_nothing() -> None:
    claim = Claim.of("key:team", LimitConfig())
    assert claim == Claim("key:team")
    assert not claim.is_leased


@pytest.mark.parametrize(
    ("burst_s", "requests", "tokens"), [(1.0, 1, 100), (10.0, 15, 1_000), (0.1, 1, 10)]
)
def test_a_burst_is_the_windows_part_of_the_minute(
    burst_s: float, requests: int, tokens: int
) -> None:
    bursts = [rate for rate in Claim.of("upstream:own", LIMITS, burst_s).rates if rate.is_burst]
    assert [(rate.kind, rate.limit) for rate in bursts] == [
        ("requests", requests),
        ("tokens", tokens),
    ]
    assert {rate.window_us for rate in bursts} == {round(burst_s * 1_000_000)}


@pytest.mark.parametrize("burst_s", [0.0, -1.0, 61.0, float("nan")])
def test_a_burst_that_is_none_is_refused(burst_s: float) -> None:
    with pytest.raises(InvalidConfig, match="between"):
        Claim.of("upstream:own", LIMITS, burst_s)


def test_a_workers_share_is_never_nothing() -> None:
    share = Claim.of("key:team", LIMITS).share(40)
    assert [rate.limit for rate in share.rates] == [2, 150]
    assert share.concurrency == 1
    assert [budget.limit_nano for budget in share.budgets] == [2_500_000, 62_500_000]


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (
            Refusal("key:a", "tokens", 100, 2.0, "a minute"),
            "More than 100 tokens a minute for key:a",
        ),
        (
            Refusal("model:b", "concurrency", 3, 1.0, "at once"),
            "More than 3 requests at once for model:b",
        ),
        (
            Refusal("tenant:c", "money", 2_500_000_000, 1.0, "a day"),
            "More than 2.5 of money a day for tenant:c",
        ),
    ],
)
def test_a_refusal_says_why(refusal: Refusal, message: str) -> None:
    assert refusal.message == message


def test_a_refusal_rounds_its_wait_up_and_tells_of_no_end_to_what_has_none() -> None:
    assert Refusal("key:a", "tokens", 1, 2.1, "a minute").retry_after_s == 3
    assert Refusal("key:a", "tokens", 1, float("inf"), "a minute").retry_after_s is None


def test_amounts_are_one_request_unless_said_otherwise() -> None:
    assert Amounts() == Amounts(requests=1, tokens=0, money_nano=0)
