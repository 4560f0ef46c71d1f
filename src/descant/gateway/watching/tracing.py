"""Spans for OpenTelemetry, of a share of the requests; the others only pass their trace on.

A request has a span of its own, and below it one for each asking of an upstream. Those have the
names of the GenAI conventions, the request has not: its tokens would be counted twice. Spans are sent
in batches by a thread of the SDK; when a collector is slow they are dropped, and no request waits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from descant.gateway.watching.spans import (
    AttemptEnd,
    AttemptSpan,
    AttemptStart,
    RequestSpan,
    RequestStart,
    Tracing,
)
from descant.gateway.watching.trace_context import TraceContext
from descant.schema.errors import MissingDependency

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, SpanContext

_RANDOM_BITS = 56
"""Of a trace's id, those that W3C's level 2 says are random."""


@dataclass(frozen=True)
class TracingConfig:
    """Whether spans are sent, where, and of which requests."""

    endpoint: str | None = None
    """An OTLP collector over HTTP, such as ``http://127.0.0.1:4318/v1/traces``; None sends nothing."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Of the requests; of those with a trace, by its id, so that others who do so choose the same."""
    follow_callers: bool = False
    """Whether a caller who marks a trace as sampled has it sampled here, whatever the share."""
    service: str = "descant-gateway"


def open_tracing(config: TracingConfig, instance: str) -> Tracing:
    """Return what the configuration asks for; without an endpoint nothing is imported for it.

    `instance` tells workers apart.

    Raises:
        MissingDependency: there is an endpoint, and the SDK or its exporter is not installed.
    """
    if config.endpoint is None:
        return PassedOn()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"Spans need the Python package {error.name}.",
            remedy="Install it: pip install 'descant[tracing]'",
        ) from error
    return OpenTelemetry(
        config, BatchSpanProcessor(OTLPSpanExporter(endpoint=config.endpoint)), instance
    )


class PassedOn:
    """No spans: a trace that a request belongs to goes on to the upstream as it came."""

    def begin(self, start: RequestStart) -> RequestSpan:
        """Remember the trace."""
        return _PassedOnRequest(start.parent)

    def close(self) -> None:
        """Do nothing: nothing is sent."""


class OpenTelemetry:
    """Spans through OpenTelemetry's SDK, to one processor."""

    def __init__(
        self,
        config: TracingConfig,
        processor: SpanProcessor,
        instance: str,
        draw: Callable[[], float] = random.random,
        clock_ns: Callable[[], int] = time.time_ns,
    ):
        """Make a provider of its own; the process's global one is left alone."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        resource = Resource.create(
            {"service.name": config.service, "service.instance.id": instance}
        )
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("descant.gateway")
        self._config = config
        self._draw = draw
        self._clock_ns = clock_ns

    def begin(self, start: RequestStart) -> RequestSpan:
        """Begin a span, or only pass the trace on where the request is not among the share."""
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context

        if not self._is_chosen(start.parent):
            return _PassedOnRequest(start.parent)
        context = Context()
        if start.parent is not None:
            context = set_span_in_context(NonRecordingSpan(_context_of(start.parent)), context)
        span = self._tracer.start_span(
            f"POST {start.route}",
            context,
            SpanKind.SERVER,
            start.attributes(),
            start_time=self._clock_ns(),
        )
        return _RecordedRequest(self, span)

    def begin_attempt(self, request: Span, start: AttemptStart) -> AttemptSpan:
        """Begin the span of an asking below its request's."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, set_span_in_context

        span = self._tracer.start_span(
            start.span_name,
            set_span_in_context(request, Context()),
            SpanKind.CLIENT,
            start.attributes(),
            start_time=self._clock_ns(),
        )
        return _RecordedAttempt(self, span)

    def end(self, span: Span, error: str | None) -> None:
        """End a span; one that failed says so."""
        from opentelemetry.trace import StatusCode

        if error is not None:
            span.set_status(StatusCode.ERROR)
        span.end(self._clock_ns())

    def close(self) -> None:
        """Send what is not yet sent; waits for the collector, so not on the event loop."""
        self._provider.shutdown()

    def _is_chosen(self, parent: TraceContext | None) -> bool:
        if parent is None:
            return self._draw() < self._config.share
        if self._config.follow_callers and parent.is_sampled:
            return True
        rest = parent.trace_id & ((1 << _RANDOM_BITS) - 1)
        return rest < self._config.share * (1 << _RANDOM_BITS)


class _PassedOnRequest:
    __slots__ = ("_parent",)

    def __init__(self, parent: TraceContext | None):
        self._parent = parent

    def attempt(self, start: AttemptStart) -> AttemptSpan:
        return _PassedOnAttempt({} if self._parent is None else self._parent.headers())

    def end(self, status: int, error: str | None = None) -> None:
        pass


class _PassedOnAttempt:
    __slots__ = ("headers",)

    def __init__(self, headers: dict[str, str]):
        self.headers = headers

    def end(self, end: AttemptEnd) -> None:
        pass


class _RecordedRequest:
    def __init__(self, tracing: OpenTelemetry, span: Span):
        self._tracing = tracing
        self._span = span

    def attempt(self, start: AttemptStart) -> AttemptSpan:
        return self._tracing.begin_attempt(self._span, start)

    def end(self, status: int, error: str | None = None) -> None:
        end = AttemptEnd(status, error)
        self._span.set_attributes(end.attributes())
        self._tracing.end(self._span, error)


class _RecordedAttempt:
    def __init__(self, tracing: OpenTelemetry, span: Span):
        self._tracing = tracing
        self._span = span

    @property
    def headers(self) -> dict[str, str]:
        return _told(self._span.get_span_context()).headers()

    def end(self, end: AttemptEnd) -> None:
        self._span.set_attributes(end.attributes())
        self._tracing.end(self._span, end.error)


def _context_of(parent: TraceContext) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    # A state that its owners would not read either is no reason to lose the trace.
    state = TraceState.from_header([parent.state]) if parent.state else TraceState()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(parent.trace_id, parent.span_id, True, flags, state)


def _told(context: SpanContext) -> TraceContext:
    state = context.trace_state.to_header()
    return TraceContext(context.trace_id, context.span_id, context.trace_flags.sampled, state)
