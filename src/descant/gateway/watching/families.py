"""Prometheus families out of plain numbers, when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from descant.gateway.watching.bounded import Histogram
from descant.gateway.watching.figures import SemanticFigures
from descant.gateway.watching.tallies import ModelTally, Spent, Tallies

Row = tuple[Sequence[str], float]
_PREFIX = "descant_gateway_"
_BREAKER_STATES = ("closed", "half_open", "open")


class GatewayCollector(Collector):
    """One worker's numbers; every metric has its number as the label ``worker``."""

    def __init__(self, tallies: Tallies, worker: int):
        self._tallies = tallies
        self._worker = str(worker)

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self._requests()
        yield from self._spent("", "model", ((n, t.spent) for n, t in self._tallies.models.shown()))
        yield from self._spent(
            "tenant_", "tenant", ((n, t.spent) for n, t in self._tallies.tenants.shown())
        )
        yield from self._times()
        yield from self._events()
        yield from self._upstreams()
        yield from self._semantics()
        yield from self._ledger()
        yield from self._sharing()

    def _requests(self) -> Iterator[Metric]:
        tallies = self._tallies
        yield self._counter(
            "requests",
            "Requests that ended; outcome is ok or an error's code.",
            ("model", "upstream", "outcome"),
            (
                ((name, *key), count.value)
                for name, model in tallies.models.shown()
                for key, count in model.requests.shown()
                if count.value
            ),
        )
        yield self._counter(
            "tenant_requests",
            "The same, by tenant.",
            ("tenant", "outcome"),
            (
                ((name, outcome), count.value)
                for name, tenant in tallies.tenants.shown()
                for outcome, count in tenant.requests.shown()
                if count.value
            ),
        )
        yield self._gauge("in_flight", "Requests not yet over.", (), [((), tallies.in_flight)])

    def _spent(
        self, prefix: str, label: str, rows: Iterable[tuple[str, Spent]]
    ) -> Iterator[Metric]:
        kept = list(rows)
        kinds: tuple[tuple[str, Callable[[Spent], int]], ...] = (
            ("in", lambda spent: spent.read),
            ("out", lambda spent: spent.written),
            ("cached", lambda spent: spent.cached),
        )
        yield self._counter(
            f"{prefix}tokens",
            "Tokens read (in), written (out), and of those read: cached at the upstream.",
            (label, "kind"),
            [((name, kind), of(spent)) for name, spent in kept for kind, of in kinds],
        )
        yield self._counter(
            f"{prefix}money",
            "What was spent at upstreams' prices.",
            (label,),
            [((name,), spent.cost_nano / 1e9) for name, spent in kept],
        )

    def _times(self) -> Iterator[Metric]:
        tallies, models = self._tallies, self._tallies.models.shown()
        by_model: tuple[tuple[str, str, Callable[[ModelTally], Histogram]], ...] = (
            ("first_byte_seconds", "To an answer's first byte.", lambda tally: tally.first_byte),
            ("request_seconds", "To its last.", lambda tally: tally.total),
            ("inter_token_seconds", "Between two pieces of a stream.", lambda tally: tally.gaps),
        )
        for name, meaning, of in by_model:
            rows = [((model,), of(tally)) for model, tally in models]
            yield self._histogram(name, meaning, ("model",), rows)
        for name, meaning, one in (
            ("added_seconds", "Of a request in the gateway itself.", tallies.added),
            ("event_loop_lag_seconds", "How late the event loop wakes.", tallies.loop_lag),
        ):
            yield self._histogram(name, meaning, (), [((), one)])

    def _events(self) -> Iterator[Metric]:
        tallies = self._tallies
        yield self._counter(
            "refused",
            "Requests not let through, by the error's code.",
            ("kind",),
            (((kind,), count.value) for kind, count in tallies.refused.shown()),
        )
        yield self._counter(
            "upstream_events",
            "What was sent to an upstream: attempts, and among them retries and hedges.",
            ("upstream", "event"),
            ((key, count.value) for key, count in tallies.events.shown()),
        )
        yield self._counter(
            "cache",
            "Looks into a tier of the cache.",
            ("tier", "result"),
            ((key, count.value) for key, count in tallies.cache.shown()),
        )

    def _upstreams(self) -> Iterator[Metric]:
        figures = list(self._tallies.upstreams())
        for name, meaning, rows in (
            ("upstream_in_flight", "Under way there.", [((f.name,), f.in_flight) for f in figures]),
            (
                "upstream_cooldown_seconds",
                "Until it is asked again.",
                [((f.name,), f.cooldown_s) for f in figures],
            ),
        ):
            yield self._gauge(name, meaning, ("upstream",), rows)
        yield self._gauge(
            "upstream_breaker",
            "1 at the state in which its circuit breaker is.",
            ("upstream", "state"),
            [((f.name, s), float(f.breaker == s)) for f in figures for s in _BREAKER_STATES],
        )

    def _semantics(self) -> Iterator[Metric]:
        figures = list(self._tallies.semantics())
        kinds: tuple[tuple[str, str, Callable[[SemanticFigures], float]], ...] = (
            ("open", "1 while the semantic tier serves.", lambda f: f.is_open),
            ("false_share_bound", "Of its would-be hits fewer are wrong.", lambda f: f.bound),
            ("checks", "Would-be hits compared since it last turned.", lambda f: f.checks),
            ("false_checks", "Of these, how many were wrong.", lambda f: f.false),
        )
        for name, meaning, of in kinds:
            rows = [((f.route,), float(of(f))) for f in figures]
            yield self._gauge(f"semantic_{name}", meaning, ("route",), rows)
        served = [((f.route,), f.served) for f in figures]
        yield self._counter("semantic_served", "Answers it gave.", ("route",), served)

    def _ledger(self) -> Iterator[Metric]:
        ledger = self._tallies.ledger()
        yield self._gauge(
            "ledger_waiting_bytes",
            "Records on the local disk that the database has not yet.",
            (),
            [((), ledger.waiting_bytes)],
        )
        yield self._counter("ledger_dropped", "Records lost.", (), [((), ledger.dropped)])

    def _sharing(self) -> Iterator[Metric]:
        if self._tallies.sharing is None:
            return
        sharing = self._tallies.sharing()
        yield self._gauge(
            "limits_shared",
            "1 while all workers count together, 0 while each keeps its part.",
            (),
            [((), sharing.is_shared)],
        )
        yield self._counter(
            "limits_losses", "How often Redis was lost.", (), [((), sharing.losses)]
        )

    def _counter(
        self, name: str, meaning: str, labels: Sequence[str], rows: Iterable[Row]
    ) -> Metric:
        family = CounterMetricFamily(_PREFIX + name, meaning, labels=(*labels, "worker"))
        for values, value in rows:
            family.add_metric((*values, self._worker), value)
        return family

    def _gauge(self, name: str, meaning: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
        family = GaugeMetricFamily(_PREFIX + name, meaning, labels=(*labels, "worker"))
        for values, value in rows:
            family.add_metric((*values, self._worker), value)
        return family

    def _histogram(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str],
        rows: Iterable[tuple[Sequence[str], Histogram]],
    ) -> Metric:
        family = HistogramMetricFamily(_PREFIX + name, meaning, labels=(*labels, "worker"))
        for values, histogram in rows:
            # Copied first: the counts must add up though requests go on adding.
            counts = list(accumulate(list(histogram.counts)))
            if counts[-1]:
                edges = [*map(floatToGoString, histogram.bounds), "+Inf"]
                buckets = list(zip(edges, counts, strict=True))
                family.add_metric((*values, self._worker), buckets, histogram.total)
        return family
