"""Prometheus metrics of one process.

A metric that means the same as one of vLLM's has its name, so that dashboards and routers made for
vLLM work; the others begin with ``descant_``. Everything is registered in the registry that is
passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from descant.schema import Scorecard

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BASE = "base"
"""What stands for the base model where metrics are by adapter."""

_LABELS = ("model_name",)
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_TOKEN_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)


class EngineFigures(Protocol):
    """Where an engine stands; `descant.engine.EngineStats` is one."""

    @property
    def num_running(self) -> int: ...  # noqa: D102
    @property
    def num_waiting(self) -> int: ...  # noqa: D102
    @property
    def kv_blocks(self) -> int: ...  # noqa: D102
    @property
    def kv_blocks_held(self) -> int: ...  # noqa: D102
    @property
    def adapters_active(self) -> int: ...  # noqa: D102
    @property
    def adapters_used(self) -> int: ...  # noqa: D102
    @property
    def adapter_bytes(self) -> int: ...  # noqa: D102
    @property
    def adapter_activations(self) -> int: ...  # noqa: D102
    @property
    def adapter_evictions(self) -> int: ...  # noqa: D102
    @property
    def preemptions(self) -> int: ...  # noqa: D102
    @property
    def tokens_drafted(self) -> int: ...  # noqa: D102
    @property
    def tokens_draft_accepted(self) -> int: ...  # noqa: D102
    @property
    def prompt_tokens(self) -> int: ...  # noqa: D102
    @property
    def prompt_tokens_cached(self) -> int: ...  # noqa: D102


class LibraryFigures(Protocol):
    """What an adapter library has done; `descant.adapters.LibraryStats` is one."""

    @property
    def loads(self) -> int: ...  # noqa: D102
    @property
    def load_s(self) -> float: ...  # noqa: D102
    @property
    def evictions(self) -> int: ...  # noqa: D102
    @property
    def host_bytes(self) -> int: ...  # noqa: D102


class Metrics:
    """The metrics of a process that serves one base model."""

    def __init__(self, registry: CollectorRegistry, model_name: str):
        self._registry = registry
        self._model_name = model_name
        self._engine = _EngineCollector(model_name)
        registry.register(self._engine)
        self._requests = Counter(
            "descant_requests_total",
            "HTTP requests answered.",
            ("route", "status"),
            registry=registry,
        )
        self._answers = Counter(
            "descant_answers_total",
            "Answers by indicator; the outcome is answered or unanswered.",
            ("indicator", "outcome"),
            registry=registry,
        )
        self._trials = Counter(
            "descant_trial_answers_total",
            "Answers of conversations that a trial mirrored, by indicator: agree, disagree, "
            "champion_unanswered, challenger_unanswered, both_unanswered, left_out or failed.",
            ("indicator", "outcome"),
            registry=registry,
        )
        self._tokens_read = self._counter(
            "descant_tokens_read_total", "Tokens that went through the model for scorecards."
        )
        self._tokens_shared = self._counter(
            "descant_tokens_shared_total",
            "Tokens that did not have to be read again: shared between adapters or cached.",
        )
        self._output_tokens = self._counter("vllm:generation_tokens", "Tokens generated.")
        self._finished = Counter(
            "vllm:request_success",
            "Generations that ended, by reason.",
            (*_LABELS, "finished_reason"),
            registry=registry,
        )
        self._latency = self._histogram(
            "vllm:e2e_request_latency_seconds", "Time of a request, waiting included.", _SECONDS
        )
        self._first_token = self._histogram(
            "vllm:time_to_first_token_seconds", "From a request to its first token.", _SECONDS
        )
        self._inter_token = self._histogram(
            "vllm:inter_token_latency_seconds", "From one token to the next.", _TOKEN_SECONDS
        )
        self._loop_lag = self._histogram(
            "descant_event_loop_lag_seconds", "How late the event loop wakes.", _LAG_SECONDS
        )
        self._adapters = _AdapterMetrics(registry)

    def take_engine_stats(self, figures: EngineFigures) -> None:
        """Remember where the engine stands, for the next time somebody asks."""
        self._engine.figures = figures

    def watch_library(self, figures: Callable[[], LibraryFigures]) -> None:
        """Ask for the adapter library's figures whenever somebody asks for the metrics."""
        self._registry.register(_LibraryCollector(figures))

    def count_request(self, route: str, status: int) -> None:
        """Count one answered request; `route` is a pattern, never a path someone made up."""
        self._requests.labels(route, str(status)).inc()

    def observe_scorecard(self, scorecard: Scorecard, latency_s: float) -> None:
        """Count a scorecard's tokens and answers and the time its request took."""
        self._tokens_read.inc(scorecard.usage.tokens_read)
        self._tokens_shared.inc(scorecard.usage.tokens_shared)
        self._latency.observe(latency_s)
        for answer in scorecard.answers:
            outcome = "answered" if answer.unanswered is None else "unanswered"
            self._answers.labels(answer.indicator, outcome).inc()
            if answer.adapter is not None:
                self._adapters.requests.labels(answer.adapter.name).inc()

    def count_trial(self, indicator: str, outcome: str) -> None:
        """Count what champion and challenger came to on one indicator of a mirrored conversation."""
        self._trials.labels(indicator, outcome).inc()

    def observe_first_token(self, adapter: str, time_s: float) -> None:
        """Record how long a generation's first token took."""
        self._output_tokens.inc()
        self._first_token.observe(time_s)
        self._adapters.output_tokens.labels(adapter).inc()
        self._adapters.first_token.labels(adapter).observe(time_s)

    def observe_next_token(self, adapter: str, time_s: float) -> None:
        """Record how long a later token of a generation took."""
        self._output_tokens.inc()
        self._inter_token.observe(time_s)
        self._adapters.output_tokens.labels(adapter).inc()
        self._adapters.inter_token.labels(adapter).observe(time_s)

    def observe_generation(self, adapter: str, reason: str, latency_s: float) -> None:
        """Count a generation that has ended."""
        self._finished.labels(self._model_name, reason).inc()
        self._latency.observe(latency_s)
        self._adapters.requests.labels(adapter).inc()

    def observe_loop_lag(self, time_s: float) -> None:
        """Record how late the event loop woke."""
        self._loop_lag.observe(time_s)

    def count_error(self, adapter: str) -> None:
        """Count a request under an adapter that failed."""
        self._adapters.errors.labels(adapter).inc()

    def render(self) -> bytes:
        """Return everything in the text format, of the type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(name, meaning, _LABELS, registry=self._registry).labels(self._model_name)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, _LABELS, registry=self._registry, buckets=buckets).labels(
            self._model_name
        )


class _AdapterMetrics:
    """The same figures, by adapter."""

    def __init__(self, registry: CollectorRegistry):
        def counter(name: str, meaning: str) -> Counter:
            return Counter(name, meaning, ("adapter",), registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, meaning, ("adapter",), registry=registry, buckets=buckets)

        self.requests = counter("descant_adapter_requests", "Requests answered by an adapter.")
        self.errors = counter("descant_adapter_errors", "Requests for an adapter that failed.")
        self.output_tokens = counter("descant_adapter_generation_tokens", "Tokens it generated.")
        self.first_token = histogram(
            "descant_adapter_time_to_first_token_seconds",
            "From a request to its first token.",
            _SECONDS,
        )
        self.inter_token = histogram(
            "descant_adapter_inter_token_latency_seconds",
            "From one token to the next.",
            _TOKEN_SECONDS,
        )


class _EngineCollector(Collector):
    """Turns the engine's last figures into metrics when they are asked for."""

    def __init__(self, model_name: str):
        self.figures: EngineFigures | None = None
        self._model_name = model_name

    def collect(self) -> Iterator[Metric]:
        """Yield one family per figure; nothing before the first were taken."""
        figures = self.figures
        if figures is None:
            return
        usage = figures.kv_blocks_held / figures.kv_blocks
        yield self._gauge(
            "vllm:num_requests_running", "Requests in the engine.", figures.num_running
        )
        yield self._gauge(
            "vllm:num_requests_waiting", "Requests waiting for the engine.", figures.num_waiting
        )
        yield self._gauge(
            "vllm:kv_cache_usage_perc", "Part of the KV cache in use; 1 is all.", usage
        )
        yield self._gauge("descant_adapters_active", "Adapters in a slot.", figures.adapters_active)
        yield self._gauge(
            "descant_adapters_used", "Adapters that running requests use.", figures.adapters_used
        )
        yield self._gauge(
            "descant_adapter_slot_bytes", "What the slots take.", figures.adapter_bytes
        )
        for name, meaning, value in (
            ("vllm:num_preemptions", "Generations put back to wait.", figures.preemptions),
            ("vllm:prompt_tokens", "Prompt tokens of requests that ended.", figures.prompt_tokens),
            ("vllm:prefix_cache_queries", "Prompt tokens looked up.", figures.prompt_tokens),
            ("vllm:prefix_cache_hits", "Of these, found.", figures.prompt_tokens_cached),
            ("vllm:spec_decode_num_draft_tokens", "Tokens guessed.", figures.tokens_drafted),
            (
                "vllm:spec_decode_num_accepted_tokens",
                "Guesses that were right.",
                figures.tokens_draft_accepted,
            ),
            ("descant_adapter_activations", "Adapters put in a slot.", figures.adapter_activations),
            ("descant_adapter_evictions", "Adapters that lost one.", figures.adapter_evictions),
        ):
            family = CounterMetricFamily(name, meaning, labels=_LABELS)
            family.add_metric([self._model_name], value)
            yield family

    def _gauge(self, name: str, meaning: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, meaning, labels=_LABELS)
        family.add_metric([self._model_name], value)
        return family


class _LibraryCollector(Collector):
    """Turns the library's figures into metrics when they are asked for."""

    def __init__(self, figures: Callable[[], LibraryFigures]):
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield one family per figure."""
        figures = self._figures()
        yield GaugeMetricFamily(
            "descant_adapter_host_bytes", "What adapters in memory take.", figures.host_bytes
        )
        for name, meaning, value in (
            ("descant_adapter_loads", "Adapters read from disk.", figures.loads),
            ("descant_adapter_load_seconds", "What that took altogether.", figures.load_s),
            ("descant_adapter_host_evictions", "Adapters dropped from memory.", figures.evictions),
        ):
            yield CounterMetricFamily(name, meaning, value)
