"""What a request may take, and the answer it gets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from descant.gateway.limits.claim import NANO, Claim, Period, RateKind

RefusalKind = Literal["requests", "tokens", "concurrency", "money"]

CONCURRENCY_WAIT_S = 1.0
"""Nobody knows when a running request ends: then, whoever is refused asks again after this."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """What one request takes, or took."""

    requests: int = 1
    tokens: int = 0
    money_nano: int = 0


NOTHING = Amounts(requests=0)


class Room(NamedTuple):
    """What one scope's minute had left after the answer."""

    kind: RateKind
    limit: int
    left: int
    """Below 0 when more was used than was set aside."""
    reset_us: int
    """Until all of it is back."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A request that may pass, and what was set aside for it."""

    id: str
    claims: tuple[Claim, ...]
    most: Amounts
    taken_us: int
    """When, on the clock of whoever keeps the limits."""
    rooms: tuple[Room, ...] = ()
    shared: Reservation | None = None
    """The same one where all workers count, if it was made there too."""

    def headers(self) -> dict[str, str]:
        """Return OpenAI's ``x-ratelimit-*`` headers, of the tightest scope."""
        return _headers(self.rooms)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not pass, and after how long it may."""

    scope: str
    kind: RefusalKind
    limit: int
    """Money in billionths."""
    wait_s: float
    """The longest of all scopes; infinite: never as it is. Of concurrency, a guess."""
    per: str
    """What the limit is counted over: ``a minute``, ``in 1 s``, ``at once``, ``a day``."""
    rooms: tuple[Room, ...] = ()

    @property
    def message(self) -> str:
        """The refusal in words."""
        limit = f"{self.limit / NANO:g} of money" if self.kind == "money" else f"{self.limit} "
        named = {"money": "", "concurrency": "requests"}.get(self.kind, self.kind)
        return f"More than {limit}{named} {self.per} for {self.scope}"

    @property
    def retry_after_s(self) -> int | None:
        """Whole seconds for ``Retry-After``; None where waiting does not help."""
        return None if math.isinf(self.wait_s) else math.ceil(self.wait_s)

    def headers(self) -> dict[str, str]:
        """Return OpenAI's ``x-ratelimit-*`` headers, of the tightest scope."""
        return _headers(self.rooms)


class Limits(Protocol):
    """Keeps count of what passes; whoever implements it agrees on every answer."""

    async def reserve(self, claims: tuple[Claim, ...], most: Amounts) -> Reservation | Refusal:
        """Take from all scopes, which differ, or from none."""

    async def settle(self, reservation: Reservation, used: Amounts) -> None:
        """Correct what was taken by what was used, and end what was held; only the first counts."""

    async def release(self, reservation: Reservation) -> None:
        """Give everything back: the request never reached an upstream."""

    async def seed(self, scope: str, period: Period, start: date, spent_nano: int) -> None:
        """Let at least this be spent in the period that begins there; a past one is left out.

        The ledger knows: to be told at the start and now and then, for what a lost store forgot.
        """

    async def aclose(self) -> None:
        """Let go of what is held open."""


@runtime_checkable
class SharedLimits(Limits, Protocol):
    """Limits that all workers keep together, as long as what they share is there."""

    @property
    def is_shared(self) -> bool:
        """Whether all workers count together now; otherwise each keeps its part."""

    @property
    def losses(self) -> int:
        """How often what they share was lost."""


def _headers(rooms: Iterable[Room]) -> dict[str, str]:
    tightest: dict[RateKind, Room] = {}
    for room in rooms:
        known = tightest.get(room.kind)
        if known is None or room.left < known.left:
            tightest[room.kind] = room
    headers: dict[str, str] = {}
    for kind, room in tightest.items():
        headers[f"x-ratelimit-limit-{kind}"] = str(room.limit)
        headers[f"x-ratelimit-remaining-{kind}"] = str(max(0, room.left))
        headers[f"x-ratelimit-reset-{kind}"] = f"{math.ceil(room.reset_us / 1000) / 1000:g}s"
    return headers
