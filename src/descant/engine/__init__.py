"""Token ids to token ids: continuous batches of sequences over a paged, shared KV cache."""

from descant.engine.adapter_pool import AdapterPool, bytes_per_adapter
from descant.engine.engine import Engine
from descant.engine.engine_config import EngineConfig
from descant.engine.kv_cache import bytes_per_slot
from descant.engine.perplexity import Windows, log_loss
from descant.engine.requests import (
    DoneEvent,
    EmbedRequest,
    EmbedResult,
    Event,
    FailedEvent,
    FinishReason,
    GenerateRequest,
    GenerateResult,
    Request,
    Result,
    SamplingParams,
    ScoreRequest,
    ScoreResult,
    Tail,
    TokenEvent,
)
from descant.engine.stats import EngineStats

__all__ = [
    "AdapterPool",
    "DoneEvent",
    "EmbedRequest",
    "EmbedResult",
    "Engine",
    "EngineConfig",
    "EngineStats",
    "Event",
    "FailedEvent",
    "FinishReason",
    "GenerateRequest",
    "GenerateResult",
    "Request",
    "Result",
    "SamplingParams",
    "ScoreRequest",
    "ScoreResult",
    "Tail",
    "TokenEvent",
    "Windows",
    "bytes_per_adapter",
    "bytes_per_slot",
    "log_loss",
]
