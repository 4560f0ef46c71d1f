"""What a gateway tells of itself: metrics, spans, and where a request's time went."""

from descant.gateway.watching.figures import (
    KnownNames,
    LedgerFigures,
    RequestFigures,
    UpstreamFigures,
)
from descant.gateway.watching.metrics import GatewayMetrics
from descant.gateway.watching.scrape import serve_metrics, worker_port
from descant.gateway.watching.server_timing import Part, Timings

__all__ = [
    "GatewayMetrics",
    "KnownNames",
    "LedgerFigures",
    "Part",
    "RequestFigures",
    "Timings",
    "UpstreamFigures",
    "serve_metrics",
    "worker_port",
]
