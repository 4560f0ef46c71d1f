"""Where limits are kept, each behind the same hand-set clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from redis import Redis

from descant.gateway.limits import InProcessLimits, Limits
from descant.gateway.limits.redis_limits import RedisSettings
from descant.gateway.limits.shared import RedisLimits, connect
from tests.gateway.limits.redis_server import RedisServer

T = TypeVar("T")
START_US = 1_767_225_540_000_000  # a minute before 2026
LEASE_S = 200.0
PATIENT_S = 10.0
CLOCK_KEY = "{descant}clock"


class InProcess:
    """Limits in this process."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.now_us = START_US
        self.limits: Limits = InProcessLimits(self._now_s, self._now_s, LEASE_S)

    def set_clock(self, now_us: int) -> None:
        self.now_us = now_us

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    def rest(self) -> None:
        """Nothing goes on by itself here."""

    def close(self) -> None:
        self.runner.close()

    def _now_s(self) -> float:
        # Half a microsecond against the rounding of large floats.
        return (self.now_us + 0.5) / 1e6


class InRedis:
    """Limits in a Redis that reads the time from one of its keys."""

    def __init__(self, server: RedisServer) -> None:
        self.runner = asyncio.Runner()
        self._redis = Redis.from_url(server.url)
        self._redis.flushall()
        settings = RedisSettings(
            answer_s=PATIENT_S,
            lease_s=LEASE_S,
            clock_lua=f"redis.call('HMGET', '{CLOCK_KEY}', 's', 'us')",
        )
        self.limits: Limits = self.do(self._make(server, settings))
        self.set_clock(START_US)

    def set_clock(self, now_us: int) -> None:
        seconds, rest_us = divmod(now_us, 1_000_000)
        self._redis.hset(CLOCK_KEY, mapping={"s": seconds, "us": rest_us})

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    def rest(self) -> None:
        """Wait until Redis has heard of everybody who left."""
        self.do(self._rest())

    async def _rest(self) -> None:
        assert isinstance(self.limits, RedisLimits)
        async with asyncio.timeout(20):
            while True:
                if self.limits.unsaid == 0:
                    return
                await asyncio.sleep(0.001)

    def close(self) -> None:
        assert isinstance(self.limits, RedisLimits)
        self.do(self.limits.aclose())
        self.runner.close()
        self._redis.close()

    async def _make(self, server: RedisServer, settings: RedisSettings) -> Limits:
        return RedisLimits(connect(server.url), "worker", settings)


Place = InProcess | InRedis
