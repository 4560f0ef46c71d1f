"""What a worker learns from each request that is over, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry

from descant.gateway.books import Entry
from descant.gateway.config import GatewayConfig
from descant.gateway.lasting import Lasting
from descant.gateway.ledger import UsageRecord
from descant.gateway.limits import SharedLimits
from descant.gateway.settings import Settings
from descant.gateway.watching import (
    GatewayMetrics,
    KnownNames,
    LedgerFigures,
    RequestFigures,
    SemanticFigures,
    SharingFigures,
    UpstreamFigures,
)

_LEARN_EVERY = 8
"""Of a busy model's requests, one in so many is learned from."""


class Observing:
    """Metrics of one worker, and what its estimates and advice learn from."""

    def __init__(self, lasting: Lasting, config: GatewayConfig, worker: int):
        self.registry = CollectorRegistry()
        self.metrics = GatewayMetrics(self.registry, _known(config), worker)
        self._lasting = lasting
        self._num_seen = 0
        if lasting.ledger is not None:
            self.metrics.watch_ledger(self._ledger)
        if isinstance(limits := lasting.limits, SharedLimits):
            self.metrics.watch_sharing(lambda: SharingFigures(limits.is_shared, limits.losses))

    def watch(self, settings: Callable[[], Settings]) -> None:
        """Tell where the upstreams of the settings in force stand."""
        self.metrics.watch_upstreams(lambda: list(self._upstreams(settings())))
        self.metrics.watch_semantics(lambda: list(self._semantics()))

    def end(self, entry: Entry, record: UsageRecord) -> None:
        """Take a request that is over."""
        tally = entry.tally
        timings = tally.timings
        self.metrics.end(
            RequestFigures(
                record.model,
                record.tenant,
                record.outcome,
                record.total_s,
                record.total_s if timings is None else timings.added_s,
                record.upstream or "none",
                record.usage,
                record.money_nano,
                record.first_byte_s,
            )
        )
        for number, upstream in enumerate(tally.visited):
            self.metrics.count_event(upstream, "retry" if number else "attempt")
        if tally.cache is not None:
            self.metrics.count_cache(tally.cache_tier, tally.cache)
        if record.outcome == "ok":
            self._learn(entry, record)

    def _learn(self, entry: Entry, record: UsageRecord) -> None:
        self._num_seen += 1
        if self._num_seen % _LEARN_EVERY and self._num_seen > 1000:
            return
        call = entry.call
        self._lasting.estimator.learn(call.model, call.body, record.usage)
        self._lasting.economy.observe(call.model, call, record.usage)

    def _ledger(self) -> LedgerFigures:
        assert self._lasting.ledger is not None
        state = self._lasting.ledger.state
        return LedgerFigures(state.waiting_bytes, state.lost + state.refused)

    def _upstreams(self, settings: Settings) -> Iterator[UpstreamFigures]:
        now_s = self._lasting.clock()
        for name, upstream in settings.fleet.items():
            in_flight = int(self._lasting.memory.view.in_flight(name))
            state = upstream.health.breaker.state(now_s).value
            yield UpstreamFigures(name, in_flight, upstream.health.cooldown_s(now_s), state)

    def _semantics(self) -> Iterator[SemanticFigures]:
        for route, state in self._lasting.semantics.states():
            yield SemanticFigures(
                route, state.is_open, state.bound, state.checks, state.false, state.served
            )


def _known(config: GatewayConfig) -> KnownNames:
    tenants = {key.tenant or name for name, key in config.keys.items()}
    return KnownNames(tuple(config.routes), tuple(sorted(tenants)), tuple(config.upstreams))
