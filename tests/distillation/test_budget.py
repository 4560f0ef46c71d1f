"""What is spent and set aside is never above the limits, whatever requests turn out to take."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.distillation.budget import Budget, Cost, Limits, Prices
from descant.schema.errors import BudgetSpent, InvalidConfig

PRICES = Prices(Decimal("0.15"), Decimal("0.6"))


@dataclass(frozen=True)
class Request:
    """The most it can take, what it says it took, and how long it lasts."""

    most: tuple[int, int]
    used: tuple[int, int]
    turns: int


tokens = st.tuples(st.integers(0, 60), st.integers(0, 60))
honest = st.builds(
    lambda most, shares, turns: Request(
        most, (int(most[0] * shares[0]), int(most[1] * shares[1])), turns
    ),
    tokens,
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.integers(0, 4),
)
lying = st.builds(
    Request, tokens, st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), st.integers(0, 4)
)
limits = st.builds(
    Limits,
    st.one_of(st.none(), st.integers(0, 400)),
    st.one_of(st.none(), st.integers(0, 100).map(lambda value: Decimal(value) / 1_000_000)),
)


def spend(budget: Budget, requests: list[Request]) -> list[Cost]:
    """Make all requests at once; return what was booked for those that had room."""
    booked: list[Cost] = []

    def check() -> None:
        assert budget.limits.hold(budget.spent + budget.set_aside)

    async def make(request: Request) -> None:
        most = PRICES.cost(*request.most)
        try:
            await budget.reserve(most)
        except BudgetSpent:
            return
        check()
        for _ in range(request.turns):
            await asyncio.sleep(0)
        booked.append(budget.settle(most, PRICES.cost(*request.used)))
        check()

    async def make_all() -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(make(request))

    asyncio.run(make_all())
    return booked


@given(limits=limits, requests=st.lists(lying | honest, max_size=12))
def test_no_claim_takes_the_total_above_the_budget(limits: Limits, requests: list[Request]) -> None:
    budget = Budget(limits, PRICES, Cost())
    booked = spend(budget, requests)
    assert limits.hold(budget.spent)
    assert sum(booked, Cost()) == budget.spent
    assert budget.set_aside == Cost()


@given(limits=limits, requests=st.lists(honest, max_size=12))
def test_honest_requests_are_booked_as_they_are_and_all_that_fit_are_made(
    limits: Limits, requests: list[Request]
) -> None:
    budget = Budget(limits, PRICES, Cost())
    booked = spend(budget, requests)
    taken = sorted((cost.read_tokens, cost.written_tokens) for cost in booked)
    used = sorted(request.used for request in requests)
    assert all(taken.count(pair) <= used.count(pair) for pair in taken)
    if len(booked) < len(requests):
        # What was refused had no room beside what was spent, not only beside what was set aside.
        assert not all(limits.hold(budget.spent + PRICES.cost(*r.most)) for r in requests)


def test_a_request_waits_for_room_that_others_hold() -> None:
    async def make() -> list[str]:
        budget = Budget(Limits(tokens=100), PRICES, Cost())
        told = []

        async def second() -> None:
            await budget.reserve(Cost(60, 0))
            told.append("second reserved")

        await budget.reserve(Cost(60, 0))
        task = asyncio.create_task(second())
        await asyncio.sleep(0.01)
        told.append("first settles")
        budget.settle(Cost(60, 0), Cost(20, 0))
        await task
        return told

    assert asyncio.run(make()) == ["first settles", "second reserved"]


def test_no_room_is_said_with_what_is_spent_and_needed() -> None:
    budget = Budget(Limits(tokens=100), PRICES, Cost(90, 5))
    with pytest.raises(BudgetSpent, match="95 of 100 tokens are spent, and one may take up to 12"):
        asyncio.run(budget.reserve(Cost(10, 2)))
    dear = Budget(Limits(money=Decimal("0.001")), PRICES, PRICES.cost(4000, 500))
    with pytest.raises(BudgetSpent, match=r"0\.0009 of 0\.001 is spent.*up to 0\.00015"):
        asyncio.run(dear.reserve(PRICES.cost(1000, 0)))


def test_after_a_claim_there_was_no_room_for_nothing_more_is_asked() -> None:
    budget = Budget(Limits(tokens=100), PRICES, Cost())

    async def make() -> None:
        await budget.reserve(Cost(30, 0))
        assert budget.settle(Cost(30, 0), Cost(500, 0)) == Cost(30, 0)
        await budget.reserve(Cost(10, 0))

    with pytest.raises(BudgetSpent, match="500 tokens, more than it can have taken"):
        asyncio.run(make())


def test_a_claim_above_what_was_set_aside_is_booked_where_there_is_room() -> None:
    budget = Budget(Limits(), PRICES, Cost())
    asyncio.run(budget.reserve(Cost(30, 0)))
    assert budget.settle(Cost(30, 0), Cost(500, 0)) == Cost(500, 0)
    assert budget.spent == Cost(500, 0)


def test_prices_are_exact() -> None:
    a_token = Prices(Decimal("0.1"), Decimal("0.2")).cost(1, 0)
    assert (a_token + a_token + a_token).money == Decimal("0.0000003")
    assert PRICES.cost(1_000_000, 2_000_000) == Cost(1_000_000, 2_000_000, Decimal("1.35"))


@pytest.mark.parametrize("wrong", [Decimal(-1), Decimal("nan"), Decimal("inf")])
def test_prices_and_limits_are_numbers_from_0_on(wrong: Decimal) -> None:
    with pytest.raises(InvalidConfig):
        Prices(read=wrong)
    with pytest.raises(InvalidConfig):
        Limits(money=wrong)


def test_money_cannot_be_limited_without_prices() -> None:
    with pytest.raises(InvalidConfig, match="needs the price"):
        Budget(Limits(money=Decimal(1)), Prices(), Cost())
