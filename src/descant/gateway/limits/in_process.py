"""Limits of one process: plain arithmetic behind the names of the protocol."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import date

from descant.gateway.limits.account import Account
from descant.gateway.limits.calendar import Calendar
from descant.gateway.limits.claim import MICROSECONDS, MINUTE_US, Claim, Period
from descant.gateway.limits.reservation import NOTHING, Amounts, Refusal, Reservation, Room
from descant.schema.errors import InvalidConfig

LEASE_S = 900.0
"""When what a request holds comes back though nobody said that it is done."""


class InProcessLimits:
    """Counts for one event loop; a scope that nobody asks for is forgotten.

    `clock` is monotonic, `utc_clock` tells seconds since 1970: days and months are counted by it.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        utc_clock: Callable[[], float] = time.time,
        lease_s: float = LEASE_S,
    ):
        self._clock = clock
        self._utc_clock = utc_clock
        self._lease_us = lease_us(lease_s)
        self._calendar = Calendar()
        # The one looked at last stands last.
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._running: dict[str, Reservation] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """Return how many scopes are remembered."""
        return len(self._accounts)

    async def reserve(self, claims: tuple[Claim, ...], most: Amounts) -> Reservation | Refusal:
        """Take from all scopes, which differ, or from none."""
        return self.ask(claims, most) or self.take(claims, most)

    async def settle(self, reservation: Reservation, used: Amounts) -> None:
        """Correct what was taken by what was used, and end what was held; only the first counts."""
        self.end(reservation, used)

    async def release(self, reservation: Reservation) -> None:
        """Give everything back: the request never reached an upstream."""
        self.end(reservation, NOTHING)

    async def aclose(self) -> None:
        """Hold nothing open."""

    async def seed(self, scope: str, period: Period, start: date, spent_nano: int) -> None:
        """Let at least this be spent in the period that begins there; a past one is left out."""
        self._account(scope).seed(period, start, spent_nano, self._utc_clock())

    def ask(self, claims: tuple[Claim, ...], most: Amounts) -> Refusal | None:
        """Return what makes a request wait longest; None: it may pass."""
        now_us, utc_s = self._now_us(), self._utc_clock()
        self._tidy(len(claims), now_us)
        worst: Refusal | None = None
        for claim in claims:
            for refusal in self._account(claim.scope).refusals(claim, most, now_us, utc_s):
                if worst is None or refusal.wait_s > worst.wait_s:
                    worst = refusal
        return None if worst is None else replace(worst, rooms=self._rooms(claims, now_us))

    def take(self, claims: tuple[Claim, ...], most: Amounts) -> Reservation:
        """Take without asking."""
        now_us = self._now_us()
        self._tidy(len(claims), now_us)
        for claim in claims:
            self._account(claim.scope).take(claim, most, now_us)
        name = str(next(self._numbers))
        taken = Reservation(name, claims, most, now_us, self._rooms(claims, now_us))
        self._running[name] = taken
        return taken

    def end(self, reservation: Reservation, used: Amounts) -> None:
        """Settle without waiting; after a lapsed lease nothing comes back, but the money counts."""
        now_us, utc_s = self._now_us(), self._utc_clock()
        self._end_leases(now_us)
        running = self._running.pop(reservation.id, None)
        if running is None and reservation.taken_us + self._lease_us > now_us:
            return
        for claim in reservation.claims:
            account = self._account(claim.scope)
            if running is not None:
                account.end(claim, reservation.most)
                account.give_back(claim, reservation.most, used, reservation.taken_us)
            account.charge(claim, reservation.most, used, now_us, utc_s)

    def _end_leases(self, now_us: int) -> None:
        running = self._running
        while running:
            name, oldest = next(iter(running.items()))
            if oldest.taken_us + self._lease_us > now_us:
                return
            del running[name]
            for claim in oldest.claims:
                self._account(claim.scope).end(claim, oldest.most)

    def _tidy(self, new: int, now_us: int) -> None:
        self._end_leases(now_us)
        # One more is looked at than can be new, so that forgetting keeps up.
        for _ in range(min(new + 1, len(self._accounts))):
            scope, account = next(iter(self._accounts.items()))
            if account.is_idle(now_us, self._utc_clock()):
                del self._accounts[scope]
            else:
                self._accounts.move_to_end(scope)

    def _rooms(self, claims: tuple[Claim, ...], now_us: int) -> tuple[Room, ...]:
        return tuple(
            room for claim in claims for room in self._account(claim.scope).rooms(claim, now_us)
        )

    def _account(self, scope: str) -> Account:
        account = self._accounts.get(scope)
        if account is None:
            account = self._accounts[scope] = Account(self._calendar)
        return account

    def _now_us(self) -> int:
        return int(self._clock() * MICROSECONDS)


def lease_us(lease_s: float) -> int:
    """Return the lease in microseconds.

    Raises:
        InvalidConfig: it is not longer than a minute, in which tokens come back by themselves.
    """
    if lease_s * MICROSECONDS <= MINUTE_US + MINUTE_US // 100:
        raise InvalidConfig(f"{lease_s:g} s is too short: at least 61.", field="lease_s")
    return int(lease_s * MICROSECONDS)
