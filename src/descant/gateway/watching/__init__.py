"""What a gateway tells of itself: metrics, spans, and where a request's time went."""

from descant.gateway.watching.figures import (
    KnownNames,
    LedgerFigures,
    RequestFigures,
    SemanticFigures,
    SharingFigures,
    UpstreamFigures,
)
from descant.gateway.watching.metrics import GatewayMetrics
from descant.gateway.watching.scrape import serve_metrics, worker_port
from descant.gateway.watching.server_timing import Part, Timings
from descant.gateway.watching.spans import (
    AttemptEnd,
    AttemptSpan,
    AttemptStart,
    RequestSpan,
    RequestStart,
    Tracing,
)
from descant.gateway.watching.trace_context import TraceContext, read_trace_context
from descant.gateway.watching.tracing import (
    OpenTelemetry,
    PassedOn,
    TracingConfig,
    open_tracing,
)

__all__ = [
    "AttemptEnd",
    "AttemptSpan",
    "AttemptStart",
    "GatewayMetrics",
    "KnownNames",
    "LedgerFigures",
    "OpenTelemetry",
    "Part",
    "PassedOn",
    "RequestFigures",
    "RequestSpan",
    "RequestStart",
    "SemanticFigures",
    "SharingFigures",
    "Timings",
    "TraceContext",
    "Tracing",
    "TracingConfig",
    "UpstreamFigures",
    "open_tracing",
    "read_trace_context",
    "serve_metrics",
    "worker_port",
]
