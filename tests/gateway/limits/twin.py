"""The limits again, slowly and plainly: a list of everything that was ever taken."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from descant.gateway.limits import Amounts, Claim, Rate

RATES = ("requests", "tokens")


@dataclass
class Entry:
    scope: str
    kind: str
    taken_us: int
    amount: int


@dataclass
class Held:
    claims: tuple[Claim, ...]
    most: Amounts
    taken_us: int
    entries: list[Entry]
    is_settled: bool = False


@dataclass
class Spending:
    scope: str
    at: datetime
    nano: int


@dataclass
class Twin:
    lease_us: int
    now_us: int
    entries: list[Entry] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    spendings: list[Spending] = field(default_factory=list)

    def reserve(self, claims: tuple[Claim, ...], most: Amounts) -> Held | tuple[str, str, float]:
        worst: tuple[str, str, float] | None = None
        for claim in claims:
            for kind, wait_s in self._waits(claim, most):
                if wait_s > 0 and (worst is None or wait_s > worst[2]):
                    worst = (claim.scope, kind, wait_s)
        return worst or self._take(claims, most)

    def end(self, held: Held, used: Amounts) -> None:
        if held.is_settled:
            return
        held.is_settled = True
        lapsed = held.taken_us + self.lease_us <= self.now_us
        for entry in held.entries:
            change = getattr(used, entry.kind) - getattr(held.most, entry.kind)
            if change > 0:
                self.entries.append(Entry(entry.scope, entry.kind, self.now_us, change))
            elif not lapsed:
                entry.amount += change
        for claim in held.claims:
            if claim.budgets:
                self.spendings.append(Spending(claim.scope, self._now(), used.money_nano))

    def taken(self, scope: str, rate: Rate) -> int:
        return sum(entry.amount for entry, _ in self._counted(scope, rate))

    def spent(self, scope: str, period: str) -> int:
        return sum(
            spending.nano
            for spending in self.spendings
            if spending.scope == scope and start(spending.at, period) == start(self._now(), period)
        )

    def seed(self, scope: str, period: str, nano: int) -> None:
        # Of the other period nothing more is spent: its budget, if any, is another scope's.
        missing = nano - self.spent(scope, period)
        if missing > 0:
            self.spendings.append(Spending(scope, self._now(), missing))

    def running(self, scope: str) -> list[Held]:
        return [
            held
            for held in self.held
            if not held.is_settled
            and held.taken_us + self.lease_us > self.now_us
            and any(claim.scope == scope and claim.is_leased for claim in held.claims)
        ]

    def _take(self, claims: tuple[Claim, ...], most: Amounts) -> Held:
        entries = [
            Entry(claim.scope, kind, self.now_us, getattr(most, kind))
            for claim in claims
            for kind in RATES
        ]
        self.entries += entries
        self.held.append(Held(claims, most, self.now_us, entries))
        return self.held[-1]

    def _waits(self, claim: Claim, most: Amounts) -> list[tuple[str, float]]:
        waits: list[tuple[str, float]] = [
            (rate.kind, self._rate_wait_s(claim, rate, most)) for rate in claim.rates
        ]
        running = self.running(claim.scope)
        if claim.concurrency is not None and len(running) >= claim.concurrency:
            waits.append(("concurrency", 1.0))
        held = sum(each.most.money_nano for each in running)
        for budget in claim.budgets:
            left = budget.limit_nano - self.spent(claim.scope, budget.period)
            if most.money_nano == 0 or most.money_nano <= left - held:
                continue
            if most.money_nano > budget.limit_nano:
                waits.append(("money", math.inf))
            elif most.money_nano > left:
                waits.append(
                    ("money", (end(self._now(), budget.period) - self._now()).total_seconds())
                )
            else:
                waits.append(("money", 1.0))
        return waits

    def _rate_wait_s(self, claim: Claim, rate: Rate, most: Amounts) -> float:
        amount = getattr(most, rate.kind)
        limit = max(rate.limit, amount) if rate.is_burst else rate.limit
        if amount > limit:
            return math.inf
        missing = self.taken(claim.scope, rate) + amount - limit
        if amount == 0 or missing <= 0:
            return 0.0
        counted = self._counted(claim.scope, rate)
        back_us = next(
            back_us
            for i, (_, back_us) in enumerate(counted)
            if sum(entry.amount for entry, _ in counted[: i + 1]) >= missing
        )
        return (back_us - self.now_us) / 1e6

    def _counted(self, scope: str, rate: Rate) -> list[tuple[Entry, int]]:
        """What is not back, and when it will be: the end of its slot, and a window."""
        backs = [
            (entry, (entry.taken_us // rate.slot_us + 1) * rate.slot_us + rate.window_us)
            for entry in self.entries
            if entry.scope == scope and entry.kind == rate.kind
        ]
        found = [(entry, back_us) for entry, back_us in backs if back_us > self.now_us]
        return sorted(found, key=lambda pair: pair[1])

    def _now(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.now_us)


def start(at: datetime, period: str) -> date:
    return at.date() if period == "day" else at.date().replace(day=1)


def end(at: datetime, period: str) -> datetime:
    last = start(at, period)
    while start(datetime(last.year, last.month, last.day, tzinfo=UTC), period) == start(at, period):
        last += timedelta(days=1)
    return datetime(last.year, last.month, last.day, tzinfo=UTC)
