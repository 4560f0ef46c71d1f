"""Prometheus metrics of one worker.

Requests add to plain numbers (`bounded`); they become metrics when somebody asks. Every label has a
bounded set of values, the rest is ``other``. Each worker has a registry of its own and answers on a
port of its own (`scrape`): files shared between processes grow with every process that ever was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from prometheus_client import CollectorRegistry

from descant.gateway.watching.bounded import Histogram
from descant.gateway.watching.families import GatewayCollector
from descant.gateway.watching.figures import (
    Event,
    KnownNames,
    LedgerFigures,
    RequestFigures,
    SemanticFigures,
    SharingFigures,
    UpstreamFigures,
)
from descant.gateway.watching.tallies import Tallies


class GatewayMetrics:
    """What requests, upstreams, cache and ledger tell; nothing here waits or locks."""

    def __init__(
        self,
        registry: CollectorRegistry,
        known: KnownNames | None = None,
        worker: int = 0,
        most_names: int = 200,
    ):
        """Register everything; `most_names` models and tenants are let in beside the known ones."""
        self._tallies = Tallies(known or KnownNames(), most_names)
        registry.register(GatewayCollector(self._tallies, worker))

    def begin(self) -> None:
        """Count a request that has come."""
        self._tallies.in_flight += 1

    def end(self, figures: RequestFigures) -> None:
        """Count a request that `begin` counted and that is over, however it ended."""
        tallies = self._tallies
        tallies.in_flight -= 1
        tallies.added.observe(figures.added_s)
        model = tallies.models[figures.model]
        model.requests[figures.upstream, figures.outcome].value += 1
        model.total.observe(figures.total_s)
        if figures.first_byte_s is not None:
            model.first_byte.observe(figures.first_byte_s)
        tenant = tallies.tenants[figures.tenant]
        tenant.requests[figures.outcome].value += 1
        usage, cost_nano = figures.usage, figures.cost_nano
        model.spent.add(usage, cost_nano)
        tenant.spent.add(usage, cost_nano)

    def gaps_of(self, model: str) -> Histogram:
        """Return what a stream tells the seconds between two of its pieces; found once a stream."""
        return self._tallies.models[model].gaps

    def count_refusal(self, kind: str) -> None:
        """Count a request that was not let through, by the error's code."""
        self._tallies.refused[kind].value += 1

    def count_event(self, upstream: str, event: Event) -> None:
        """Count what was sent to an upstream, and why."""
        self._tallies.events[upstream, event].value += 1

    def count_cache(self, tier: str, result: Literal["hit", "miss", "shared"]) -> None:
        """Count a look into a tier of the cache; ``shared``: it waited for an equal request."""
        self._tallies.cache[tier, result].value += 1

    def observe_loop_lag(self, time_s: float) -> None:
        """Record how late the event loop woke."""
        self._tallies.loop_lag.observe(time_s)

    def watch_upstreams(self, figures: Callable[[], Iterable[UpstreamFigures]]) -> None:
        """Ask where upstreams stand whenever somebody asks for the metrics; from another thread."""
        self._tallies.upstreams = figures

    def watch_semantics(self, figures: Callable[[], Iterable[SemanticFigures]]) -> None:
        """Ask where semantic tiers stand whenever somebody asks for the metrics; from another thread."""
        self._tallies.semantics = figures

    def watch_ledger(self, figures: Callable[[], LedgerFigures]) -> None:
        """Ask where the ledger stands whenever somebody asks for the metrics; from another thread."""
        self._tallies.ledger = figures

    def watch_sharing(self, figures: Callable[[], SharingFigures]) -> None:
        """Ask where shared limits stand whenever somebody asks for the metrics."""
        self._tallies.sharing = figures
