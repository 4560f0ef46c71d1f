"""Answers shared by all workers through Redis or Valkey.

Trouble there never fails a request: it is counted, and for a pause nothing is asked of it, so that a
server that hangs costs one request in a while its timeout, not all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import RedisError

from descant.gateway.cache.answer import CachedAnswer
from descant.gateway.cache.lru import CacheCounts

if TYPE_CHECKING:
    from redis.asyncio import Redis

_log = logging.getLogger(__name__)
_TROUBLE = (RedisError, OSError, TimeoutError)
Reply = TypeVar("Reply")


@dataclass(frozen=True)
class RedisStoreConfig:
    """How answers lie there; how much room all of them get is the server's ``maxmemory``."""

    prefix: str = "descant:answer:"
    most_value_bytes: int = 1_000_000
    timeout_s: float = 0.05
    """The longest a request waits for the cache."""
    pause_s: float = 1.0
    """After trouble nothing is asked for so long."""


class RedisStore:
    """An `AnswerStore` over a client that returns bytes (``decode_responses`` off)."""

    def __init__(self, client: Redis, config: RedisStoreConfig, clock: Callable[[], float]):
        self.counts = CacheCounts()
        self._client = client
        self._config = config
        self._clock = clock
        self._paused_until_s = float("-inf")

    async def get(self, key: bytes) -> CachedAnswer | None:
        """Return the answer kept under the key; None too where Redis does not answer in time."""
        value = await self._ask(lambda: self._client.get(self._name(key)))
        answer = None if value is None else self._read(key, value)
        self.counts.hits += answer is not None
        self.counts.misses += answer is None
        return answer

    async def put(self, key: bytes, answer: CachedAnswer, ttl_s: float) -> None:
        """Keep the answer for so long, if it is small enough and Redis answers."""
        value = key + answer.to_bytes()
        if len(value) > self._config.most_value_bytes:
            self.counts.refused += 1
            return
        ttl_ms = max(1, round(ttl_s * 1000))
        await self._ask(lambda: self._client.set(self._name(key), value, px=ttl_ms))

    def _name(self, key: bytes) -> str:
        return self._config.prefix + key.hex()

    async def _ask(self, command: Callable[[], Awaitable[Reply]]) -> Reply | None:
        if self._clock() < self._paused_until_s:
            return None
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await command()
        except _TROUBLE as error:
            self._paused_until_s = self._clock() + self._config.pause_s
            self.counts.failed += 1
            _log.warning("The shared cache does not answer: %r.", error)
            return None

    def _read(self, key: bytes, value: bytes | str) -> CachedAnswer | None:
        try:
            # A reply that belongs to another command must never become somebody's answer.
            if not isinstance(value, bytes) or not value.startswith(key):
                raise ValueError("another answer's value")
            return CachedAnswer.from_bytes(value[len(key) :])
        except ValueError:
            self.counts.failed += 1
            return None
