"""Answers that need not be asked for again.

`semantic` and `redis_store` are entered by themselves: what they need is not loaded for nothing.
"""

from descant.gateway.cache.answer import EVENTS, JSON, CachedAnswer, is_worth_keeping
from descant.gateway.cache.embedding_tier import EmbeddingBatch, EmbeddingTier
from descant.gateway.cache.exact import AnswerStore, LocalStore
from descant.gateway.cache.intermediate import IntermediateStore
from descant.gateway.cache.layered import LayeredStore
from descant.gateway.cache.lru import Bounds, CacheCounts
from descant.gateway.cache.partition import Identity
from descant.gateway.cache.plan import (
    CachePlan,
    CachePolicy,
    CacheWish,
    plan_cache,
    read_cache_control,
)
from descant.gateway.cache.recording import StreamRecording
from descant.gateway.cache.replay import replay_stream
from descant.gateway.cache.single_flight import Flight, Seat, SingleFlight

__all__ = [
    "EVENTS",
    "JSON",
    "AnswerStore",
    "Bounds",
    "CacheCounts",
    "CachePlan",
    "CachePolicy",
    "CacheWish",
    "CachedAnswer",
    "EmbeddingBatch",
    "EmbeddingTier",
    "Flight",
    "Identity",
    "IntermediateStore",
    "LayeredStore",
    "LocalStore",
    "Seat",
    "SingleFlight",
    "StreamRecording",
    "is_worth_keeping",
    "plan_cache",
    "read_cache_control",
    "replay_stream",
]
