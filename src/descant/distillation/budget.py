"""What requests may cost: set aside before each, settled after it, never more than the limits.

A request's tokens are known only when it is answered. So the most it can take is set aside before it
is sent, and what is spent and what is set aside stay within the limits together. Money is decimal:
a sum of many small prices is exact.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from descant.schema.errors import BudgetSpent, InvalidConfig

_MILLION = 6


@dataclass(frozen=True)
class Cost:
    """What requests took, or may take."""

    read_tokens: int = 0
    written_tokens: int = 0
    money: Decimal = Decimal(0)

    @property
    def tokens(self) -> int:
        """Both kinds together."""
        return self.read_tokens + self.written_tokens

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.read_tokens + other.read_tokens,
            self.written_tokens + other.written_tokens,
            self.money + other.money,
        )

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.read_tokens - other.read_tokens,
            self.written_tokens - other.written_tokens,
            self.money - other.money,
        )


@dataclass(frozen=True)
class Prices:
    """Money for a million tokens, in any currency.

    Raises:
        InvalidConfig: a price is negative or not a number.
    """

    read: Decimal = Decimal(0)
    written: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        for name in ("read", "written"):
            price = getattr(self, name)
            if not price.is_finite() or price < 0:
                raise InvalidConfig(f"The price of tokens {name} is {price}.", field="prices")

    def cost(self, read_tokens: int, written_tokens: int) -> Cost:
        """Return what so many tokens cost."""
        money = read_tokens * self.read + written_tokens * self.written
        return Cost(read_tokens, written_tokens, money.scaleb(-_MILLION))


@dataclass(frozen=True)
class Limits:
    """The most that may be spent; None is no limit.

    Raises:
        InvalidConfig: a limit is negative or not a number.
    """

    tokens: int | None = None
    money: Decimal | None = None

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 0:
            raise InvalidConfig("A budget of tokens is not negative.", field="budget_tokens")
        if self.money is not None and (not self.money.is_finite() or self.money < 0):
            raise InvalidConfig("A budget of money is a number from 0 on.", field="budget_money")

    def hold(self, cost: Cost) -> bool:
        """Return whether so much may be spent."""
        return (self.tokens is None or cost.tokens <= self.tokens) and (
            self.money is None or cost.money <= self.money
        )


class Budget:
    """Spending within limits, for the requests of one event loop.

    Semantics:
        `limits` hold `spent` and everything set aside, together, at any time.
    """

    def __init__(self, limits: Limits, prices: Prices, spent: Cost):
        """`spent` is from earlier runs; if it is beyond the limits already, nothing is reserved.

        Raises:
            InvalidConfig: money is limited and costs nothing.
        """
        if limits.money is not None and prices == Prices():
            raise InvalidConfig(
                "A budget of money needs the price of tokens.",
                field="budget_money",
                remedy="Say what a million tokens cost, read and written.",
            )
        self.limits = limits
        self.prices = prices
        self.spent = spent
        self.set_aside = Cost()
        self._settled = asyncio.Event()
        self._too_much: Cost | None = None

    async def reserve(self, most: Cost) -> None:
        """Set the most a request can take aside, once what others hold leaves room for it.

        Raises:
            BudgetSpent: there is no room for it, whatever the others turn out to take.
        """
        self._check_room(most)
        while not self.limits.hold(self.spent + self.set_aside + most):
            await self._settled.wait()
            self._check_room(most)
        self.set_aside += most

    def settle(self, most: Cost, used: Cost) -> Cost:
        """Give back what was set aside and return what is booked instead: what was used.

        A request cannot take more than was set aside for it. Where a teacher says it did, and limits
        have no room for that, what was set aside is booked and nothing more can be reserved.
        """
        self.set_aside -= most
        if not self.limits.hold(self.spent + self.set_aside + used):
            self._too_much, used = used, most
        self.spent += used
        # Whoever waits looks again; a new event is for those who come later.
        self._settled.set()
        self._settled = asyncio.Event()
        return used

    def _check_room(self, most: Cost) -> None:
        if self._too_much is not None:
            raise BudgetSpent(
                f"The teacher says that a request took {self._too_much.tokens:,} tokens, more than "
                "it can have taken and more than the budget had left.",
                field="budget",
                remedy="No budget can be kept with such a teacher; look at its own bill.",
            )
        if not self.limits.hold(self.spent + most):
            raise BudgetSpent(
                f"The budget has no room for another request: {self._shortage(most)}.",
                field="budget",
                remedy="What was answered is kept; go on with a larger budget.",
            )

    def _shortage(self, most: Cost) -> str:
        spent, limits = self.spent, self.limits
        if limits.tokens is not None and (spent + most).tokens > limits.tokens:
            said = f"{spent.tokens:,} of {limits.tokens:,} tokens are spent"
            return f"{said}, and one may take up to {most.tokens:,}"
        assert limits.money is not None, "one of the limits is too low"
        said = f"{_amount(spent.money)} of {_amount(limits.money)} is spent"
        return f"{said}, and one may take up to {_amount(most.money)}"


def _amount(money: Decimal) -> str:
    return f"{money.normalize():f}"
