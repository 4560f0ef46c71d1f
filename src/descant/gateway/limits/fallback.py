"""Limits shared through Redis while it answers, and each worker's part of them while it does not.

Every reservation is also counted in this process. Where Redis is gone, that count decides, against
each limit divided by the number of workers (at least 1). So what this worker let through before the
switch counts after it; and for a minute after Redis is back both counts must have room, because
Redis did not see the last minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date

from descant.gateway.limits.claim import MICROSECONDS, MINUTE_US, Claim, Period
from descant.gateway.limits.in_process import InProcessLimits
from descant.gateway.limits.redis_limits import RedisLimits
from descant.gateway.limits.redis_line import GONE
from descant.gateway.limits.reservation import NOTHING, Amounts, Refusal, Reservation

_log = logging.getLogger(__name__)
_REJOIN_S = MINUTE_US * 1.01 / MICROSECONDS
"""A minute and a slot."""


class FallbackLimits:
    """Limits of one of `workers` processes; for one event loop."""

    def __init__(
        self,
        shared: RedisLimits,
        local: InProcessLimits,
        workers: int,
        probe_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._shared = shared
        self._local = local
        self._workers = workers
        self._probe_s = probe_s
        self._clock = clock
        self._trusted_from_s = -math.inf
        self._probe: asyncio.Task[None] | None = None
        self._losses = 0

    @property
    def is_shared(self) -> bool:
        """Whether Redis decides."""
        return self._probe is None

    @property
    def losses(self) -> int:
        """How often Redis was lost."""
        return self._losses

    async def reserve(self, claims: tuple[Claim, ...], most: Amounts) -> Reservation | Refusal:
        """Take from all scopes, which differ, or from none; never waits longer than Redis may."""
        if self._probe is None and self._clock() >= self._trusted_from_s:
            return await self._reserve_shared(claims, most)
        answer = self._reserve_local(claims, most)
        if self._probe is not None or isinstance(answer, Refusal):
            return answer
        return await self._confirm(answer, claims)

    async def settle(self, reservation: Reservation, used: Amounts) -> None:
        """Correct what was taken by what was used, and end what was held; only the first counts."""
        self._local.end(reservation, used)
        if reservation.shared is None:
            return
        if self._probe is not None:
            self._shared.keep(reservation.shared, used)
            return
        try:
            await self._shared.settle(reservation.shared, used)
        except GONE as error:
            self._lose(error)

    async def release(self, reservation: Reservation) -> None:
        """Give everything back: the request never reached an upstream."""
        await self.settle(reservation, NOTHING)

    async def seed(self, scope: str, period: Period, start: date, spent_nano: int) -> None:
        """Let at least this be spent in the period that begins there; a past one is left out."""
        await self._local.seed(scope, period, start, math.ceil(spent_nano / self._workers))
        if self._probe is not None:
            return
        try:
            await self._shared.seed(scope, period, start, spent_nano)
        except GONE as error:
            self._lose(error)

    async def aclose(self) -> None:
        """End the probe and the connection."""
        if self._probe is not None:
            self._probe.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probe
        await self._shared.aclose()

    async def _reserve_shared(
        self, claims: tuple[Claim, ...], most: Amounts
    ) -> Reservation | Refusal:
        try:
            answer = await self._shared.reserve(claims, most)
        except GONE as error:
            self._lose(error)
            return self._reserve_local(claims, most)
        if isinstance(answer, Refusal):
            return answer
        return replace(self._local.take(claims, most), shared=answer, rooms=answer.rooms)

    def _reserve_local(self, claims: tuple[Claim, ...], most: Amounts) -> Reservation | Refusal:
        parts = tuple(claim.share(self._workers) for claim in claims)
        refusal = self._local.ask(parts, most)
        if refusal is None:
            return self._local.take(parts, most)
        if math.isinf(refusal.wait_s) and InProcessLimits().ask(claims, most) is None:
            # Too large for one worker's part, not for the whole: Redis may be back by then.
            return replace(refusal, wait_s=_REJOIN_S)
        return refusal

    async def _confirm(
        self, local: Reservation, claims: tuple[Claim, ...]
    ) -> Reservation | Refusal:
        try:
            answer = await self._shared.reserve(claims, local.most)
        except GONE as error:
            self._lose(error)
            return local
        except asyncio.CancelledError:
            self._local.end(local, NOTHING)
            raise
        if isinstance(answer, Refusal):
            self._local.end(local, NOTHING)
            return answer
        return replace(local, shared=answer, rooms=answer.rooms)

    def _lose(self, error: Exception) -> None:
        if self._probe is not None:
            return
        self._losses += 1
        _log.warning("Limits are no longer shared, each worker keeps its part: Redis: %r", error)
        self._probe = asyncio.create_task(self._wait_until_back())

    async def _wait_until_back(self) -> None:
        while True:
            await asyncio.sleep(self._probe_s)
            try:
                await self._shared.deliver()
                break
            except GONE:
                continue
        self._probe = None
        self._trusted_from_s = self._clock() + _REJOIN_S
        _log.warning("Limits are shared again.")
