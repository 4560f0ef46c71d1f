"""What one scope let pass: its windows, what is held by running requests, its spent money."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date

from descant.gateway.limits.calendar import Calendar
from descant.gateway.limits.claim import MICROSECONDS, Budget, Claim, Period, Rate, RateKind
from descant.gateway.limits.reservation import (
    CONCURRENCY_WAIT_S,
    Amounts,
    Refusal,
    Room,
)
from descant.gateway.limits.window import Window


class Account:
    """Counts of one scope; time is handed in and does not go back."""

    __slots__ = ("_calendar", "_spent", "_windows", "held_nano", "running")

    def __init__(self, calendar: Calendar):
        self._calendar = calendar
        self._windows: dict[tuple[RateKind, int], Window] = {}
        self._spent: dict[Period, tuple[date, int]] = {}
        self.held_nano = 0
        self.running = 0

    def refusals(self, claim: Claim, most: Amounts, now_us: int, utc_s: float) -> Iterator[Refusal]:
        """Yield what there is no room for; what is not asked for needs none."""
        for rate in claim.rates:
            if (amount := amount_of(most, rate.kind)) > 0:
                wait_s = self._rate_wait_s(rate, amount, now_us)
                if wait_s > 0:
                    yield Refusal(claim.scope, rate.kind, rate.limit, wait_s, rate.per)
        if claim.concurrency is not None and self.running >= claim.concurrency:
            limit = claim.concurrency
            yield Refusal(claim.scope, "concurrency", limit, CONCURRENCY_WAIT_S, "at once")
        if most.money_nano > 0:
            for budget in claim.budgets:
                wait_s = self._budget_wait_s(budget, most.money_nano, utc_s)
                if wait_s > 0:
                    per = f"a {budget.period}"
                    yield Refusal(claim.scope, "money", budget.limit_nano, wait_s, per)

    def take(self, claim: Claim, most: Amounts, now_us: int) -> None:
        """Take without asking."""
        for rate in claim.rates:
            self._window(rate, now_us).take(amount_of(most, rate.kind), now_us)
        if claim.is_leased:
            self.running += 1
            self.held_nano += most.money_nano

    def end(self, claim: Claim, most: Amounts) -> None:
        """End what was held for a running request."""
        if claim.is_leased:
            self.running -= 1
            self.held_nano -= most.money_nano

    def give_back(self, claim: Claim, most: Amounts, used: Amounts, taken_us: int) -> None:
        """Give back what was taken then and not used."""
        for rate in claim.rates:
            unused = amount_of(most, rate.kind) - amount_of(used, rate.kind)
            window = self._windows.get((rate.kind, rate.slot_us))
            # An idle account may have been forgotten meanwhile: then all came back.
            if unused > 0 and window is not None:
                window.give_back(unused, taken_us)

    def charge(self, claim: Claim, most: Amounts, used: Amounts, now_us: int, utc_s: float) -> None:
        """Take what was used beyond what was set aside, and spend the money."""
        for rate in claim.rates:
            excess = amount_of(used, rate.kind) - amount_of(most, rate.kind)
            if excess > 0:
                self._window(rate, now_us).take(excess, now_us)
        for budget in claim.budgets:
            self._set_spent(
                budget.period, used.money_nano + self.spent(budget.period, utc_s), utc_s
            )

    def spent(self, period: Period, utc_s: float) -> int:
        """Return what was spent in the current period."""
        start, nano = self._spent.get(period, (None, 0))
        return nano if start == self._calendar.start(period, utc_s) else 0

    def seed(self, period: Period, start: date, spent_nano: int, utc_s: float) -> None:
        """Let at least this be spent, if the period that begins there is the current one."""
        if start == self._calendar.start(period, utc_s):
            self._set_spent(period, max(spent_nano, self.spent(period, utc_s)), utc_s)

    def rooms(self, claim: Claim, now_us: int) -> Iterator[Room]:
        """Yield what each rate of a minute has left."""
        for rate in claim.rates:
            if not rate.is_burst:
                window = self._window(rate, now_us)
                left = rate.limit - window.taken
                yield Room(rate.kind, rate.limit, left, window.reset_us(now_us))

    def is_idle(self, now_us: int, utc_s: float) -> bool:
        """Return whether forgetting it all changes no answer."""
        if self.running or any(self.spent(period, utc_s) for period in self._spent):
            return False
        for window in self._windows.values():
            window.sweep(now_us)
        return not any(window.taken for window in self._windows.values())

    def _rate_wait_s(self, rate: Rate, amount: int, now_us: int) -> float:
        limit = rate.limit_for(amount)
        if amount > limit:
            return math.inf
        window = self._window(rate, now_us)
        missing = window.taken + amount - limit
        return window.wait_us(missing, now_us) / MICROSECONDS if missing > 0 else 0.0

    def _budget_wait_s(self, budget: Budget, amount_nano: int, utc_s: float) -> float:
        if amount_nano > budget.limit_nano:
            return math.inf
        left_nano = budget.limit_nano - self.spent(budget.period, utc_s)
        if amount_nano > left_nano:
            return self._calendar.left_s(budget.period, utc_s)
        # What running requests hold may come back at any time.
        return CONCURRENCY_WAIT_S if amount_nano > left_nano - self.held_nano else 0.0

    def _set_spent(self, period: Period, nano: int, utc_s: float) -> None:
        self._spent[period] = (self._calendar.start(period, utc_s), nano)

    def _window(self, rate: Rate, now_us: int) -> Window:
        # A burst of another length is another window.
        key = rate.kind, rate.slot_us
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window(rate.slot_us)
        window.sweep(now_us)
        return window


def amount_of(amounts: Amounts, kind: RateKind) -> int:
    """Return the part of the amounts that a rate counts."""
    return amounts.requests if kind == "requests" else amounts.tokens
