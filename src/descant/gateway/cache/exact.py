"""Answers to requests that were the same to the byte, kept in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from descant.gateway.cache.answer import CachedAnswer
from descant.gateway.cache.lru import Bounds, CacheCounts, Lru


class AnswerStore(Protocol):
    """Where answers are kept; whatever goes wrong in it is counted, never raised."""

    counts: CacheCounts

    async def get(self, key: bytes) -> CachedAnswer | None:
        """Return the answer kept under the key; None where there is none to be had."""

    async def put(self, key: bytes, answer: CachedAnswer, ttl_s: float) -> None:
        """Keep the answer for so long, if it can be kept."""


class LocalStore:
    """The answers of one worker, bounded by bytes and entries."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float]):
        self._answers: Lru[CachedAnswer] = Lru(bounds, clock)
        self.counts = self._answers.counts

    @property
    def held_bytes(self) -> int:
        """What it takes now."""
        return self._answers.held_bytes

    async def get(self, key: bytes) -> CachedAnswer | None:
        """Return the answer kept under the key; it never waits."""
        return self._answers.get(key)

    async def put(self, key: bytes, answer: CachedAnswer, ttl_s: float) -> None:
        """Keep the answer for so long; it never waits."""
        self._answers.put(key, answer, len(answer.body) + len(answer.content_type), ttl_s)
