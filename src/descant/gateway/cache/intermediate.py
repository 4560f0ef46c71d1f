"""Results on the way to an answer that later requests of the same tenant need again."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import orjson

from descant.gateway.cache.lru import Bounds, CacheCounts, Lru


class IntermediateStore:
    """Prefix handles, retrieved passages and the like, by tenant, kind and key."""

    def __init__(self, bounds: Bounds, ttl_s: float, clock: Callable[[], float]):
        self._ttl_s = ttl_s
        self._results: Lru[bytes] = Lru(bounds, clock)

    @property
    def counts(self) -> CacheCounts:
        """What it has done so far."""
        return self._results.counts

    @property
    def held_bytes(self) -> int:
        """What it takes now."""
        return self._results.held_bytes

    def get(self, tenant: str, kind: str, key: str) -> bytes | None:
        """Return what this tenant put there, unless it is too old or had to make room."""
        return self._results.get(_digest(tenant, kind, key))

    def put(self, tenant: str, kind: str, key: str, value: bytes) -> None:
        """Keep a result for this tenant alone."""
        self._results.put(_digest(tenant, kind, key), value, len(value), self._ttl_s)


def _digest(tenant: str, kind: str, key: str) -> bytes:
    return blake2b(orjson.dumps([tenant, kind, key]), digest_size=32).digest()
