"""How upstreams are spoken to: OpenAI's words in and out, the upstream's own between."""

from descant.gateway.dialects.choice import dialect_of
from descant.gateway.dialects.dialect import (
    Answered,
    Dialect,
    StreamFailure,
    StreamReader,
    UpstreamRequest,
)

__all__ = [
    "Answered",
    "Dialect",
    "StreamFailure",
    "StreamReader",
    "UpstreamRequest",
    "dialect_of",
]
