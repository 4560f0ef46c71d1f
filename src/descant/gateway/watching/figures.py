"""What requests, upstreams and the ledger tell the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from descant.gateway.call import Usage

NO_UPSTREAM = "none"
"""Stands for the upstream of what was refused or answered from the cache."""

Event = Literal["attempt", "retry", "hedge", "hedge_won"]


@dataclass(frozen=True, slots=True)
class KnownNames:
    """Names in the gateway's file: they have their place in the metrics whatever callers send."""

    models: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """One request that has ended."""

    model: str
    tenant: str
    outcome: str
    """``ok`` or an error's code."""
    total_s: float
    added_s: float
    """Spent in the gateway itself."""
    upstream: str = NO_UPSTREAM
    usage: Usage = Usage()
    cost_nano: int = 0
    first_byte_s: float | None = None


@dataclass(frozen=True, slots=True)
class UpstreamFigures:
    """Where one upstream stands."""

    name: str
    in_flight: int
    cooldown_s: float
    """What is left of it; 0 is none."""
    breaker: str
    """``closed``, ``half_open`` or ``open``."""


@dataclass(frozen=True, slots=True)
class SharingFigures:
    """Where limits that all workers share stand."""

    is_shared: bool
    """Whether all workers count together now; otherwise each keeps its part."""
    losses: int
    """How often what they share was lost."""


@dataclass(frozen=True, slots=True)
class SemanticFigures:
    """Where the semantic tier of one route stands."""

    route: str
    is_open: bool
    """Whether it serves."""
    bound: float
    """The share of its would-be hits that are wrong is below."""
    checks: int
    false: int
    """Of these checks, how many would have been wrong."""
    served: int


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """Where the ledger stands."""

    waiting_bytes: int
    """On the local disk, for the database."""
    dropped: int
