"""One scope that must have room before a request may pass, and what it lets through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from descant.gateway.config import LimitConfig
from descant.schema.errors import InvalidConfig

RateKind = Literal["requests", "tokens"]
Period = Literal["day", "month"]

MICROSECONDS = 1_000_000
MINUTE_US = 60 * MICROSECONDS
NANO = 1_000_000_000
SLOTS = 100
"""Parts of a window that are counted together: what was taken comes back up to 1 % late."""
_SHORTEST_BURST_S = 0.01


@dataclass(frozen=True, slots=True)
class Rate:
    """The most that may pass in any window of this length, wherever it begins."""

    kind: RateKind
    limit: int
    window_us: int = MINUTE_US
    is_burst: bool = False
    """Whether it only spreads a minute's limit: then a request larger than it passes alone."""

    @property
    def slot_us(self) -> int:
        """The length of a slot; it divides the window."""
        return self.window_us // SLOTS

    @property
    def per(self) -> str:
        """The window in words."""
        if self.window_us == MINUTE_US:
            return "a minute"
        return f"in {self.window_us / MICROSECONDS:g} s"

    def limit_for(self, amount: int) -> int:
        """Return what may be taken in a window when a request of this amount asks."""
        return max(self.limit, amount) if self.is_burst else self.limit


@dataclass(frozen=True, slots=True)
class Budget:
    """The most money that may be spent in one calendar day or month, in UTC."""

    period: Period
    limit_nano: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request asks of one scope, as ``key:team``, ``tenant:quality`` or ``upstream:own``.

    To be made once and kept: it does not depend on the request.
    """

    scope: str
    rates: tuple[Rate, ...] = ()
    concurrency: int | None = None
    budgets: tuple[Budget, ...] = ()

    @classmethod
    def of(cls, scope: str, limits: LimitConfig, burst_s: float | None = None) -> Claim:
        """Make the claim of configured limits.

        With `burst_s` no window of that length sees more than its share of a minute's limits, or one
        request: for upstreams, which judge a minute by its seconds.

        Raises:
            InvalidConfig: `burst_s` is not between 0.01 and 60.
        """
        amounts: dict[RateKind, int | None] = {
            "requests": limits.requests_per_minute,
            "tokens": limits.tokens_per_minute,
        }
        rates = [Rate(kind, limit) for kind, limit in amounts.items() if limit is not None]
        if burst_s is not None:
            rates += [_burst(rate, burst_s) for rate in rates]
        money: dict[Period, float | None] = {
            "day": limits.money_per_day,
            "month": limits.money_per_month,
        }
        budgets = [
            Budget(period, round(limit * NANO))
            for period, limit in money.items()
            if limit is not None
        ]
        return cls(scope, tuple(rates), limits.concurrency, tuple(budgets))

    @property
    def is_leased(self) -> bool:
        """Whether something of it is held until the request is done."""
        return self.concurrency is not None or bool(self.budgets)

    def share(self, workers: int) -> Claim:
        """Return the part of one of so many workers, at least 1 of everything but money."""
        return Claim(
            self.scope,
            tuple(replace(rate, limit=max(1, rate.limit // workers)) for rate in self.rates),
            None if self.concurrency is None else max(1, self.concurrency // workers),
            tuple(
                replace(budget, limit_nano=budget.limit_nano // workers) for budget in self.budgets
            ),
        )


def _burst(rate: Rate, burst_s: float) -> Rate:
    if not _SHORTEST_BURST_S <= burst_s <= MINUTE_US / MICROSECONDS:
        raise InvalidConfig(f"{burst_s:g} is not between 0.01 and 60 s.", field="burst_s")
    window_us = round(burst_s * MICROSECONDS / SLOTS) * SLOTS
    return Rate(rate.kind, max(1, rate.limit * window_us // MINUTE_US), window_us, is_burst=True)
