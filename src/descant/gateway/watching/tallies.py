"""All numbers of one worker, by model and by tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from descant.gateway.call import Usage
from descant.gateway.watching.bounded import Bounded, Counts, Histogram
from descant.gateway.watching.figures import (
    KnownNames,
    LedgerFigures,
    SemanticFigures,
    SharingFigures,
    UpstreamFigures,
)

OTHER = "other"

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_GAP_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
_ADDED_SECONDS = (1e-4, 2e-4, 4e-4, 8e-4, 1.5e-3, 3e-3, 6e-3, 0.012, 0.025, 0.05, 0.1, 0.25, 1.0)
_LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Spent:
    """Tokens and money of a model or tenant."""

    __slots__ = ("cached", "cost_nano", "read", "written")

    def __init__(self) -> None:
        self.read = self.written = self.cached = self.cost_nano = 0

    def add(self, usage: Usage, cost_nano: int) -> None:
        """Add one request's."""
        self.read += usage.prompt_tokens
        self.written += usage.completion_tokens
        self.cached += usage.cached_tokens
        self.cost_nano += cost_nano


class ModelTally:
    """What one model's requests came to."""

    __slots__ = ("first_byte", "gaps", "requests", "spent", "total")

    def __init__(self) -> None:
        self.requests: Bounded[tuple[str, str], Counts] = Bounded(Counts, (OTHER, OTHER))
        self.spent = Spent()
        self.first_byte = Histogram(_SECONDS)
        self.total = Histogram(_SECONDS)
        self.gaps = Histogram(_GAP_SECONDS)


class TenantTally:
    """What one tenant's requests came to."""

    __slots__ = ("requests", "spent")

    def __init__(self) -> None:
        self.requests: Bounded[str, Counts] = Bounded(Counts, OTHER, most=50)
        self.spent = Spent()


class Tallies:
    """All numbers of one worker."""

    def __init__(self, known: KnownNames, most: int):
        self.models = Bounded(ModelTally, OTHER, known.models, most)
        self.tenants = Bounded(TenantTally, OTHER, known.tenants, most)
        self.events: Bounded[tuple[str, str], Counts] = Bounded(Counts, (OTHER, OTHER))
        self.refused: Bounded[str, Counts] = Bounded(Counts, OTHER, most=50)
        self.cache: Bounded[tuple[str, str], Counts] = Bounded(Counts, (OTHER, OTHER), most=50)
        self.added = Histogram(_ADDED_SECONDS)
        self.loop_lag = Histogram(_LAG_SECONDS)
        self.in_flight = 0
        self.upstreams: Callable[[], Iterable[UpstreamFigures]] = tuple
        self.semantics: Callable[[], Iterable[SemanticFigures]] = tuple
        self.ledger: Callable[[], LedgerFigures] = partial(LedgerFigures, 0, 0)
        self.sharing: Callable[[], SharingFigures] | None = None
