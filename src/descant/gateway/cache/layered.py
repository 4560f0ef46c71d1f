"""Answers of this process in front of those that all workers share."""

from __future__ import annotations

from descant.gateway.cache.answer import CachedAnswer
from descant.gateway.cache.exact import AnswerStore, LocalStore

_NEAR_S = 10.0
"""How long an answer that was found afar is kept near; who reads looks at its age."""


class LayeredStore:
    """An `AnswerStore`: what is near is not asked for afar."""

    def __init__(self, near: LocalStore, far: AnswerStore):
        self.near = near
        self.counts = far.counts
        """Of what is afar."""
        self._far = far

    async def get(self, key: bytes) -> CachedAnswer | None:
        """Return the answer kept under the key, from the nearest place that has it."""
        answer = await self.near.get(key)
        if answer is None:
            answer = await self._far.get(key)
            if answer is not None:
                await self.near.put(key, answer, _NEAR_S)
        return answer

    async def put(self, key: bytes, answer: CachedAnswer, ttl_s: float) -> None:
        """Keep the answer in both places."""
        await self.near.put(key, answer, ttl_s)
        await self._far.put(key, answer, ttl_s)
