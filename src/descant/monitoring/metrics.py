"""Prometheus metrics of one process.

A metric that means the same as one of vLLM's has its name, so that dashboards made for vLLM work;
the others begin with ``descant_``. Everything is registered in the registry that is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from descant.schema import Scorecard

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LABELS = ("model_name",)
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The metrics of a process that serves one base model."""

    def __init__(self, registry: CollectorRegistry, model_name: str):
        self._registry = registry
        self._model_name = model_name
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
        self._tokens_read = self._counter(
            "descant_tokens_read_total", "Tokens that went through the model."
        )
        self._tokens_shared = self._counter(
            "descant_tokens_shared_total",
            "Tokens that did not have to be read again: shared between adapters or cached.",
        )
        self._reading = self._histogram(
            "descant_reading_seconds", "Time to read one conversation, before the fan-out."
        )
        self._fanout = self._histogram(
            "descant_fanout_seconds", "Time to answer all indicators of a conversation once read."
        )
        self._latency = self._histogram(
            "vllm:e2e_request_latency_seconds", "Time of a scoring request, waiting included."
        )
        self._running = self._gauge("vllm:num_requests_running", "Requests in the engine.")
        self._waiting = self._gauge("vllm:num_requests_waiting", "Requests waiting for the engine.")

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

    def observe_phases(self, reading_s: float, fanout_s: float) -> None:
        """Record how one scorecard's time was spent inside the engine."""
        self._reading.observe(reading_s)
        self._fanout.observe(fanout_s)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count a request as waiting for the engine."""
        with self._waiting.track_inprogress():
            yield

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a request as in the engine."""
        with self._running.track_inprogress():
            yield

    def render(self) -> bytes:
        """Return everything in the text format, of the type `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str) -> Counter:
        return Counter(name, meaning, _LABELS, registry=self._registry).labels(self._model_name)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, _LABELS, registry=self._registry).labels(self._model_name)

    def _histogram(self, name: str, meaning: str) -> Histogram:
        return Histogram(name, meaning, _LABELS, registry=self._registry, buckets=_SECONDS).labels(
            self._model_name
        )
