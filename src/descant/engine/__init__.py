"""Token ids to token ids: continuous batches of sequences over a paged, shared KV cache."""

from descant.engine.adapter_pool import AdapterPool
from descant.engine.engine import Engine, EngineConfig, GenerateRequest, GenerateResult
from descant.engine.kv_cache import bytes_per_slot
from descant.engine.scoring import ScoreRequest, ScoreResult, Tail
from descant.engine.sequence import FinishReason, SamplingParams

__all__ = [
    "AdapterPool",
    "Engine",
    "EngineConfig",
    "FinishReason",
    "GenerateRequest",
    "GenerateResult",
    "SamplingParams",
    "ScoreRequest",
    "ScoreResult",
    "Tail",
    "bytes_per_slot",
]
