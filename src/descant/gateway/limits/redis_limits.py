"""Limits that all workers share, kept in Valkey or Redis (7.0 and later)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import orjson
from redis.asyncio import Redis

from descant.gateway.limits.claim import MICROSECONDS, Claim, Period
from descant.gateway.limits.in_process import LEASE_S, lease_us
from descant.gateway.limits.redis_line import GONE, RedisLine
from descant.gateway.limits.redis_script import (
    SERVER_CLOCK,
    beat_script,
    reserve_script,
    seed_script,
    settle_script,
)
from descant.gateway.limits.reservation import (
    CONCURRENCY_WAIT_S,
    NOTHING,
    Amounts,
    Refusal,
    Reservation,
    Room,
)

_MOST_REMEMBERED = 4096


@dataclass(frozen=True)
class RedisSettings:
    """How Redis is asked."""

    answer_s: float = 0.2
    """The longest that anyone waits for a Redis that does not answer: once, until it is back."""
    lease_s: float = LEASE_S
    """When what a request holds comes back though nobody said that it is done."""
    silence_s: float = 5.0
    """A worker that was not heard for so long has given up what its requests held."""
    beat_s: float = 1.0
    """How often a worker says that it is there."""
    prefix: str = "{descant}"
    """Of all keys; its braces keep them together in a cluster."""
    clock_lua: str = SERVER_CLOCK


class RedisLimits:
    """Limits in one Redis; `worker` is a name that no other process and no earlier start has.

    What Redis may not have heard, because it did not answer or the caller left, is kept to be said
    again: `deliver`.
    """

    def __init__(self, client: Redis, worker: str, settings: RedisSettings = RedisSettings()):
        self._line = RedisLine(client, settings.answer_s)
        self._prefix = settings.prefix
        self._worker = worker
        self._lease_us = lease_us(settings.lease_s)
        self._silence_us = int(settings.silence_s * MICROSECONDS)
        self._beat_s = settings.beat_s
        self._ids = (f"{worker}-{number}" for number in itertools.count())
        self._reserve = reserve_script(settings.clock_lua)
        self._settle = settle_script(settings.clock_lua)
        self._seed = seed_script(settings.clock_lua)
        self._beat = beat_script(settings.clock_lua)
        # Claims are made once and asked for often.
        self._told = functools.lru_cache(_MOST_REMEMBERED)(_claim)
        self._unsaid: dict[str, _Ending] = {}
        self._delivery: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None

    @property
    def unsaid(self) -> int:
        """How many endings Redis may not have heard."""
        return len(self._unsaid)

    async def reserve(self, claims: tuple[Claim, ...], most: Amounts) -> Reservation | Refusal:
        """Take from all scopes, which differ, or from none.

        Raises:
            RedisError: Redis is gone; whatever it did will be undone.
            TimeoutError: it did not answer in time; the same.
        """
        if self._beating is None:
            self._beating = asyncio.create_task(self._keep_beating())
        asked = Reservation(next(self._ids), claims, most, taken_us=0)
        payload = {**self._payload(asked), "guess_us": int(CONCURRENCY_WAIT_S * MICROSECONDS)}
        try:
            reply = await self._line.run(self._reserve, self._keys(asked), orjson.dumps(payload))
        except (asyncio.CancelledError, *GONE):
            self._unsaid[asked.id] = _Ending(asked, NOTHING, is_lost=True)
            self._deliver_soon()
            raise
        return _read(reply, asked)

    async def settle(self, reservation: Reservation, used: Amounts) -> None:
        """Correct what was taken by what was used, and end what was held; only the first counts.

        Raises:
            RedisError: Redis is gone; it will hear it later.
            TimeoutError: it did not answer in time; the same.
        """
        self.keep(reservation, used)
        try:
            await self._say(self._unsaid[reservation.id])
        except (asyncio.CancelledError, *GONE):
            self._deliver_soon()
            raise

    async def release(self, reservation: Reservation) -> None:
        """Give everything back: the request never reached an upstream; raises as `settle` does."""
        await self.settle(reservation, NOTHING)

    async def seed(self, scope: str, period: Period, start: date, spent_nano: int) -> None:
        """Let at least this be spent in the period that begins there; raises as `settle` does."""
        days = (start - date(1970, 1, 1)).days
        payload = orjson.dumps({"period": period, "start": days, "spent": spent_nano})
        await self._line.run(self._seed, [f"{self._prefix}:{scope}:m"], payload)

    def keep(self, reservation: Reservation, used: Amounts) -> None:
        """Settle at the next delivery."""
        self._unsaid.setdefault(reservation.id, _Ending(reservation, used))

    async def deliver(self) -> None:
        """Say what Redis may not have heard; raises as `settle` does, and keeps the rest."""
        await self._line.ping()
        # More may come meanwhile.
        while self._unsaid:
            await self._say(next(iter(self._unsaid.values())))

    async def beat(self) -> None:
        """Say that this worker is there; raises as `settle` does."""
        payload = {"worker": self._worker, "silence_us": self._silence_us}
        await self._line.run(self._beat, [self._beats], orjson.dumps(payload))

    async def aclose(self) -> None:
        """Break off what is awaited, and close the connection."""
        for task in (self._delivery, self._beating):
            if task is not None:
                task.cancel()
        await self._line.aclose()

    async def _say(self, ending: _Ending) -> None:
        payload = {
            **self._payload(ending.reservation),
            "taken_us": ending.reservation.taken_us,
            "used": _amounts(ending.used),
            "is_lost": ending.is_lost,
            "is_again": ending.is_again,
        }
        ending.is_again = True
        keys = self._keys(ending.reservation)
        await self._line.run(self._settle, keys, orjson.dumps(payload))
        self._unsaid.pop(ending.reservation.id, None)

    def _deliver_soon(self) -> None:
        if self._delivery is None or self._delivery.done():
            self._delivery = asyncio.create_task(self._try_to_deliver())

    async def _try_to_deliver(self) -> None:
        try:
            await self.deliver()
        except GONE:
            return  # What is left stays unsaid until the next delivery.

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            with contextlib.suppress(*GONE):  # Whoever asks next finds out and tells.
                await self.beat()

    @property
    def _beats(self) -> str:
        return f"{self._prefix}:beats"

    def _payload(self, reservation: Reservation) -> dict[str, Any]:
        most = reservation.most
        return {
            "most": _amounts(most),
            "lease_us": self._lease_us,
            "silence_us": self._silence_us,
            "worker": self._worker,
            "holder": reservation.id.rpartition("-")[0],
            "member": f"{reservation.id}:{most.money_nano}",
            "claims": [self._told(claim) for claim in reservation.claims],
        }

    def _keys(self, reservation: Reservation) -> list[str]:
        keys = [f"{self._prefix}::{reservation.id}"]
        for claim in reservation.claims:
            scope = f"{self._prefix}:{claim.scope}"
            keys += [f"{scope}:w", f"{scope}:l", f"{scope}:m"]
        return [*keys, self._beats]


@dataclass(slots=True)
class _Ending:
    """A settlement on its way."""

    reservation: Reservation
    used: Amounts
    is_lost: bool = False
    """Whether nobody knows if the reservation was made."""
    is_again: bool = False
    """Whether Redis may have heard it."""


def _amounts(amounts: Amounts) -> Mapping[str, int]:
    money = amounts.money_nano
    return {"requests": amounts.requests, "tokens": amounts.tokens, "money": money}


def _claim(claim: Claim) -> orjson.Fragment:
    told: dict[str, Any] = {
        "rates": [
            {**asdict(rate), "slot_us": rate.slot_us, "per": rate.per} for rate in claim.rates
        ],
        "budgets": [
            {"period": budget.period, "limit": budget.limit_nano} for budget in claim.budgets
        ],
        "is_leased": claim.is_leased,
    }
    if claim.concurrency is not None:
        told["concurrency"] = claim.concurrency
    return orjson.Fragment(orjson.dumps(told))


def _read(reply: Sequence[Any], asked: Reservation) -> Reservation | Refusal:
    if reply[0] == b"taken":
        rooms = _rooms(asked.claims, reply[2])
        return Reservation(asked.id, asked.claims, asked.most, reply[1], rooms)
    if reply[0] != b"refused":
        raise ConnectionError(f"the reservation {asked.id} was given up before Redis heard of it.")
    _, number, kind, limit, per, wait_us, left = reply
    return Refusal(
        asked.claims[number - 1].scope,
        kind.decode(),
        limit,
        float(wait_us) / MICROSECONDS,
        per.decode(),
        _rooms(asked.claims, left),
    )


def _rooms(claims: tuple[Claim, ...], left: Sequence[int]) -> tuple[Room, ...]:
    rates = [rate for claim in claims for rate in claim.rates if not rate.is_burst]
    return tuple(
        Room(rate.kind, rate.limit, left[2 * i], left[2 * i + 1]) for i, rate in enumerate(rates)
    )
