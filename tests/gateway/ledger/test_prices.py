from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.call import Usage
from descant.gateway.ledger import Prices
from descant.schema.errors import InvalidConfig

PRICES = st.floats(min_value=0, max_value=1e4, allow_nan=False)
TOKENS = st.integers(min_value=0, max_value=10**7)


def slow_twin(usage: Usage, read: float, write: float, cached: float) -> int:
    tokens = (
        usage.prompt_tokens - usage.cached_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
    )
    for_all = sum(
        (
            count * Decimal(str(price))
            for count, price in zip(tokens, (read, cached, write), strict=True)
        ),
        Decimal(0),
    )
    return int((for_all * 1000).quantize(Decimal(1), rounding=ROUND_HALF_UP))


@given(PRICES, PRICES, PRICES, TOKENS, TOKENS, TOKENS)
def test_money_is_what_decimal_arithmetic_says(
    read: float, write: float, cached: float, fresh: int, again: int, written: int
) -> None:
    usage = Usage(fresh + again, written, again)
    from decimal import localcontext

    with localcontext() as context:
        context.prec = 400
        expected = slow_twin(usage, read, write, cached)
    assert Prices.per_million(read, write, cached).money_nano(usage) == expected


def test_a_tenth_is_a_tenth() -> None:
    assert Prices.per_million(0.1, 0.3).money_nano(Usage(3, 1)) == 600


def test_halves_are_rounded_up_once_for_a_request() -> None:
    prices = Prices.per_million(0.0005, 0.0005)
    assert prices.money_nano(Usage(1, 0)) == 1
    assert prices.money_nano(Usage(1, 1)) == 1
    assert prices.money_nano(Usage(2, 1)) == 2


def test_cached_tokens_cost_what_reading_costs_unless_said_otherwise() -> None:
    usage = Usage(100, 0, 60)
    assert Prices.per_million(1.0, 0.0).money_nano(usage) == 100_000
    assert Prices.per_million(1.0, 0.0, 0.5).money_nano(usage) == 70_000
    assert Prices.per_million(1.0, 0.0, 0.0).money_nano(usage) == 40_000


def test_no_upstream_is_paid_for_more_cached_tokens_than_were_sent() -> None:
    assert Prices.per_million(1.0, 0.0, 0.5).money_nano(Usage(10, 0, 99)) == 5_000


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_what_is_no_price_is_refused(price: float) -> None:
    with pytest.raises(InvalidConfig):
        Prices.per_million(1.0, price)
