"""Limits of all workers together, kept in Valkey or Redis while it answers."""

from __future__ import annotations

import uuid

from redis.asyncio import Redis

from descant.gateway.limits.fallback import FallbackLimits
from descant.gateway.limits.in_process import InProcessLimits
from descant.gateway.limits.redis_limits import RedisLimits, RedisSettings
from descant.gateway.limits.redis_line import connect

__all__ = ["FallbackLimits", "RedisLimits", "RedisSettings", "connect", "shared_limits"]


def shared_limits(client: Redis, num_workers: int) -> FallbackLimits:
    """Return the limits of one of so many workers; its name is one that no other start has."""
    return FallbackLimits(RedisLimits(client, uuid.uuid4().hex), InProcessLimits(), num_workers)
